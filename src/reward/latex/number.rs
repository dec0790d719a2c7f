//! Number literals, exactly.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::super::expr::Number;
use super::super::verdict::Reason;

/// Largest decimal exponent that is written out.
const MAX_SCALE: i32 = 5_000;

/// A number literal.
pub enum Literal {
    /// Its value.
    Number(Number),
    /// A mantissa and a power of ten too large to write out.
    Scaled(Number, IBig),
}

/// Reads a repeating decimal such as `0.1\overline{6}`, exactly.
fn repeating(text: &str) -> Option<Result<Literal, Reason>> {
    let (fixed, period) = text.split_once('\\')?;
    let period = period.split_once('{')?.1.strip_suffix('}')?;
    let (whole, fraction) = fixed.split_once('.')?;
    let digits = |text: &str| UBig::from_str_radix(text, 10).map_err(|_| Reason::Syntax);
    let read = || {
        let all = digits(&format!("{whole}{fraction}{period}"))?;
        let fixed = digits(&format!("{whole}{fraction}"))?;
        // 0.1666.. = (16 - 1) / 90
        let nines = UBig::from(10u8).pow(period.len()) - UBig::ONE;
        let scale = UBig::from(10u8).pow(fraction.len());
        let value = RBig::from_parts(IBig::from(all) - IBig::from(fixed), nines * scale);
        Ok(Literal::Number(Number { value, decimal: false }))
    };
    Some(read())
}

/// Reads digits with an optional point and exponent (`12`, `.5`, `1.5E-3`); commas are skipped.
pub fn literal(text: &str) -> Result<Literal, Reason> {
    if text.contains('\\')
        && let Some(repeating) = repeating(&text.replace("\\,", ""))
    {
        return repeating;
    }
    let (mantissa, exponent) = match text.find(['E', 'e']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    // Several points part groups of digits: 1.234.567.
    let grouped = mantissa.matches('.').nth(1).is_some();
    let mut digits = String::with_capacity(mantissa.len());
    let mut places: Option<usize> = None;
    for sign in mantissa.chars() {
        match sign {
            '0'..='9' => {
                digits.push(sign);
                places = places.map(|places| places + 1);
            }
            '.' if grouped => {}
            '.' if places.is_none() => places = Some(0),
            ',' | '\\' | ' ' | '~' | '\'' | ';' | ':' | '!' => {}
            _ => return Err(Reason::Syntax),
        }
    }
    let value = UBig::from_str_radix(&digits, 10).map_err(|_| Reason::Syntax)?;
    let scale = UBig::from(10u8).pow(places.unwrap_or(0));
    let value = RBig::from_parts(value.into(), scale);
    let decimal = places.is_some() || exponent.is_some();
    let Some(exponent) = exponent else {
        return Ok(Literal::Number(Number { value, decimal }));
    };
    let exponent: IBig = exponent.trim_start_matches('+').parse().map_err(|_| Reason::Syntax)?;
    match i32::try_from(&exponent) {
        Ok(small) if small.abs() <= MAX_SCALE => {
            let power = RBig::from(UBig::from(10u8).pow(small.unsigned_abs() as usize));
            let value = if small < 0 { value / power } else { value * power };
            Ok(Literal::Number(Number { value, decimal }))
        }
        _ => Ok(Literal::Scaled(Number { value, decimal }, exponent)),
    }
}

/// A number with commas between groups of three digits (`1,234,567.5`), if the text is just that.
pub fn grouped(text: &str) -> Option<Number> {
    let text = text.trim();
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let (whole, fraction) = match body.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (body, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if fraction.is_some_and(|fraction| !all_digits(fraction)) {
        return None;
    }
    let mut groups = whole.split(',');
    let first = groups.next()?;
    if !all_digits(first) || first.len() > 3 {
        return None;
    }
    let rest: Vec<&str> = groups.collect();
    if rest.is_empty() || !rest.iter().all(|group| group.len() == 3 && all_digits(group)) {
        return None;
    }
    // A leading zero makes the comma a decimal comma: 0,125.
    let decimal_comma =
        !negative && first.starts_with('0') && rest.len() == 1 && fraction.is_none();
    let literal_text = if decimal_comma { body.replace(',', ".") } else { body.to_string() };
    match literal(&literal_text) {
        Ok(Literal::Number(mut number)) => {
            if negative {
                number.value = -number.value;
            }
            Some(number)
        }
        _ => None,
    }
}
