//! Signs that Unicode has and LaTeX spells out: ½, √2, x², a₁, 45°.

use std::borrow::Cow;

/// The text with such signs spelled out.
pub fn spelled_out(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        if let Some(first) = superscript(sign) {
            out.push_str("^{");
            out.push(first);
            while let Some(next) = signs.peek().copied().and_then(superscript) {
                out.push(next);
                signs.next();
            }
            out.push('}');
        } else if let Some(first) = subscript(sign) {
            out.push_str("_{");
            out.push(first);
            while let Some(next) = signs.peek().copied().and_then(subscript) {
                out.push(next);
                signs.next();
            }
            out.push('}');
        } else if let Some(root) = root(sign) {
            out.push_str(root);
            match signs.peek() {
                Some('{' | '(') => braced(&mut signs, &mut out),
                Some(_) => {
                    out.push('{');
                    let number = |sign: &char| sign.is_ascii_digit() || *sign == '.';
                    match signs.next_if(number) {
                        Some(digit) => {
                            out.push(digit);
                            while let Some(digit) = signs.next_if(number) {
                                out.push(digit);
                            }
                        }
                        None => out.extend(signs.next()),
                    }
                    out.push('}');
                }
                None => {}
            }
        } else {
            match spelling(sign) {
                Some(spelling) => out.push_str(spelling),
                None => out.push(sign),
            }
        }
    }
    Cow::Owned(out)
}

/// Copies a bracketed group as a group in braces.
fn braced(signs: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut depth = 0usize;
    for sign in signs.by_ref() {
        match sign {
            '{' | '(' => {
                out.push(if depth == 0 { '{' } else { sign });
                depth += 1;
            }
            '}' | ')' => {
                depth -= 1;
                out.push(if depth == 0 { '}' } else { sign });
                if depth == 0 {
                    return;
                }
            }
            _ => out.push(sign),
        }
    }
}

fn superscript(sign: char) -> Option<char> {
    Some(match sign {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from(b'4' + (u32::from(sign) - u32::from('⁴')) as u8),
        '⁺' => '+',
        '⁻' => '-',
        'ⁿ' => 'n',
        _ => return None,
    })
}

fn subscript(sign: char) -> Option<char> {
    match sign {
        '₀'..='₉' => Some(char::from(b'0' + (u32::from(sign) - u32::from('₀')) as u8)),
        _ => None,
    }
}

fn root(sign: char) -> Option<&'static str> {
    match sign {
        '√' => Some("\\sqrt"),
        '∛' => Some("\\sqrt[3]"),
        '∜' => Some("\\sqrt[4]"),
        _ => None,
    }
}

fn spelling(sign: char) -> Option<&'static str> {
    Some(match sign {
        '½' => "\\frac{1}{2}",
        '⅓' => "\\frac{1}{3}",
        '⅔' => "\\frac{2}{3}",
        '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}",
        '⅕' => "\\frac{1}{5}",
        '⅖' => "\\frac{2}{5}",
        '⅗' => "\\frac{3}{5}",
        '⅘' => "\\frac{4}{5}",
        '⅙' => "\\frac{1}{6}",
        '⅚' => "\\frac{5}{6}",
        '⅐' => "\\frac{1}{7}",
        '⅛' => "\\frac{1}{8}",
        '⅜' => "\\frac{3}{8}",
        '⅝' => "\\frac{5}{8}",
        '⅞' => "\\frac{7}{8}",
        '⅑' => "\\frac{1}{9}",
        '⅒' => "\\frac{1}{10}",
        '°' | 'º' => "^\\circ ",
        '∞' => "\\infty ",
        '·' | '•' => "\\cdot ",
        '⁄' => "/",
        '–' | '‐' | '‑' | '—' | '﹣' | '－' => "-",
        '＋' => "+",
        '＝' => "=",
        '，' | '、' => ",",
        '；' => ";",
        '：' => ":",
        '（' => "(",
        '）' => ")",
        '→' => "\\to ",
        '′' | '’' => "'",
        '∈' => "\\in ",
        '⟨' => "\\langle ",
        '⟩' => "\\rangle ",
        '⌊' => "\\lfloor ",
        '⌋' => "\\rfloor ",
        '⌈' => "\\lceil ",
        '⌉' => "\\rceil ",
        '％' => "\\%",
        // No-break and thin spaces, and characters without width.
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => " ",
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => "",
        _ => return None,
    })
}
