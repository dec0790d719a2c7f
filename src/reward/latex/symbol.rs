//! Names of variables: letters, Greek, accents and words, with their subscripts.

use super::super::expr::{Arena, Constant, Id, Node};
use super::commands;
use super::parser::Parser;

/// The symbol for a name as written (a letter, a Greek command, an accent) and its subscript.
pub fn symbol(parser: &mut Parser, written: &str, subscript: &str) -> Id {
    let mut name = base_name(written.trim());
    if !subscript.is_empty() {
        name.push('_');
        let long = subscript.chars().nth(1).is_some();
        if long {
            name.push('{');
        }
        name.push_str(subscript);
        if long {
            name.push('}');
        }
    }
    if written == "I" && !parser.dialect.imaginary_i
        || name == "i" && parser.dialect.imaginary_i && !parser.index_i
    {
        return parser.arena.push(Node::Constant(Constant::I));
    }
    if let Some(constant) = constant(&name) {
        return parser.arena.push(Node::Constant(constant));
    }
    if parser.dialect.lowercase {
        name = name.to_lowercase();
        if let Some(constant) = constant(&name) {
            return parser.arena.push(Node::Constant(constant));
        }
    }
    parser.arena.symbol(&name)
}

/// The symbol of a bound variable, in its own case.
pub fn variable(parser: &mut Parser, written: &str) -> Id {
    let name = base_name(written.trim());
    parser.arena.symbol(&name)
}

fn constant(name: &str) -> Option<Constant> {
    match name {
        "pi" => Some(Constant::Pi),
        "gamma" | "Gamma" => Some(Constant::EulerGamma),
        _ => None,
    }
}

/// A name without markup: `\alpha` is alpha, `\text{cm}` is cm, `\overline{AB}` is bar{AB}.
fn base_name(written: &str) -> String {
    let mut signs = written.chars();
    if let (Some(first), None) = (signs.next(), signs.next()) {
        return commands::greek(first).map_or_else(|| first.to_string(), str::to_string);
    }
    let Some(command) = written.strip_prefix('\\') else {
        return written.to_string();
    };
    let Some((accent, body)) = command.split_once('{') else {
        return command.trim().to_string();
    };
    let body: String = body.strip_suffix('}').unwrap_or(body).replace(' ', "");
    match accent.trim() {
        accent if accent.contains("text") || accent.contains("mbox") => {
            let bare: String = body.chars().filter(|sign| !matches!(sign, '(' | ')')).collect();
            let mut signs = bare.chars();
            match (signs.next(), signs.next()) {
                (Some(first), None) => commands::greek(first).map_or(bare, str::to_string),
                _ => bare,
            }
        }
        "bar" | "overline" => format!("bar{{{body}}}"),
        "vec" | "overrightarrow" => format!("vec{{{body}}}"),
        "tilde" | "widetilde" => format!("tilde{{{body}}}"),
        accent if accent.contains("math") => format!("math{{{body}}}"),
        accent => format!("{accent}{{{body}}}"),
    }
}

/// The variable of the one differential among an integrand's symbols, and the integrand with 1 in
/// the differential's place.
pub fn without_differential(arena: &mut Arena, body: Id) -> (Option<String>, Id) {
    let differential = arena.ids().take(body.index() + 1).find_map(|id| match arena.node(id) {
        Node::Symbol(name) => {
            let name = arena.name(name);
            let variable = name.strip_prefix('d').filter(|variable| !variable.is_empty())?;
            Some((id, variable.to_string()))
        }
        _ => None,
    });
    match differential {
        Some((id, variable)) => {
            let one = arena.integer(1);
            arena.replace(id, one);
            (Some(variable), body)
        }
        None => (None, body),
    }
}

/// The digits of a number set as text: `\text{0.5}`.
pub fn number_in_text(written: &str) -> Option<&str> {
    let (command, body) = written.strip_prefix('\\')?.split_once('{')?;
    let body = body.strip_suffix('}')?.trim();
    let textual = command.contains("text") || command.contains("mbox") || command == "mathrm";
    let digits = body.bytes().filter(u8::is_ascii_digit).count();
    let points = body.bytes().filter(|&b| b == b'.').count();
    (textual && digits > 0 && points <= 1 && digits + points == body.len() && !body.ends_with('.'))
        .then_some(body)
}
