//! Numbers and `printf` as Go writes them.
//!
//! Rule: what Go would mark as a mistake in its output (`%!d(…)`) is an error here.

use datamodel::float::{format_f, format_g};
use datamodel::labels::Quoted;

use super::MAX_OUTPUT_BYTES;
use super::time::{format_go_duration, format_time};
use super::value::Value;

/// A value as `%v` and actions print it.
pub(super) fn print(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Nil => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format_g(*value),
        Value::Text(text) => text.clone(),
        Value::Duration(nanos) => format_go_duration(*nanos),
        Value::Time(unix_ms) => format_time(*unix_ms),
        Value::Map(labels) => {
            let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other @ (Value::Sample(_) | Value::Samples(_) | Value::Data) => {
            return Err(format!("{} cannot be printed", other.type_name()));
        }
    })
}

/// `%.4g`, which all the `humanize` functions use.
pub(super) fn format_4g(value: f64) -> String {
    format_g_precision(value, 4)
}

/// `%.Ng`: so many significant digits, without zeros at the end; an exponent for very large and small ones.
fn format_g_precision(value: f64, precision: usize) -> String {
    if !value.is_finite() {
        return format_f(value);
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    if exponent < -4 || exponent >= i32::try_from(precision).unwrap_or(i32::MAX) {
        return format!("{digits}e{}", exponent_text(exponent));
    }
    let significant = digits.bytes().filter(u8::is_ascii_digit).count();
    let behind_point = i32::try_from(significant).unwrap_or(i32::MAX).saturating_sub(exponent + 1).max(0);
    format!("{value:.*}", usize::try_from(behind_point).unwrap_or_default())
}

fn exponent_text(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

fn format_e(value: f64, precision: usize) -> String {
    let scientific = format!("{value:.precision$e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e{}", exponent_text(exponent.parse().unwrap_or_default())),
        None => scientific,
    }
}

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`, for the verbs `v s q d f F g G e E t x X` and `%`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut output = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            output.push(c);
            continue;
        }
        let flags = flags(&mut chars)?;
        match chars.next() {
            None => return Err("printf: format ends within a verb".to_owned()),
            Some('%') => output.push('%'),
            Some(verb) => {
                let value = args.next().ok_or_else(|| format!("printf: no value for `%{verb}`"))?;
                output.push_str(&pad(verb_text(verb, flags, value)?, flags));
            }
        }
        if output.len() > MAX_OUTPUT_BYTES {
            return Err(format!("printf: output exceeds {MAX_OUTPUT_BYTES} bytes"));
        }
    }
    if args.next().is_some() {
        return Err("printf: more values than verbs".to_owned());
    }
    Ok(output)
}

fn flags(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Flags, String> {
    let mut flags = Flags::default();
    while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | ' ' | '0' | '#')) {
        match flag {
            '-' => flags.left = true,
            '+' => flags.plus = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => flags.alternate = true,
        }
    }
    let mut number = || -> Result<Option<usize>, String> {
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse().ok().filter(|number: &usize| *number <= 1000);
        number.map(Some).ok_or_else(|| format!("printf: width or precision above 1000: {digits}"))
    };
    flags.width = number()?.unwrap_or_default();
    if chars.next_if_eq(&'.').is_some() {
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let precision = if digits.is_empty() { Some(0) } else { digits.parse().ok().filter(|n: &usize| *n <= 1000) };
        flags.precision = Some(precision.ok_or_else(|| format!("printf: precision above 1000: {digits}"))?);
    }
    if flags.alternate {
        return Err("printf: flag `#` is not supported".to_owned());
    }
    Ok(flags)
}

fn verb_text(verb: char, flags: Flags, value: &Value) -> Result<String, String> {
    let refuse = || Err(format!("printf: `%{verb}` does not take {}", value.type_name()));
    match (verb, value) {
        ('v', Value::Float(number)) => Ok(number_text('g', flags, *number)),
        ('f' | 'F' | 'e' | 'g', Value::Float(number)) => Ok(number_text(verb, flags, *number)),
        ('E' | 'G', Value::Float(number)) => {
            let text = number_text(verb.to_ascii_lowercase(), flags, *number);
            Ok(if number.is_finite() { text.to_ascii_uppercase() } else { text })
        }
        ('v' | 'd', Value::Int(whole)) => Ok(signed(&whole.to_string(), flags)),
        ('x', Value::Int(whole)) => Ok(format!("{}{:x}", minus(*whole), whole.unsigned_abs())),
        ('X', Value::Int(whole)) => Ok(format!("{}{:X}", minus(*whole), whole.unsigned_abs())),
        ('v' | 't', Value::Bool(value)) => Ok(value.to_string()),
        ('q', Value::Text(text)) => Ok(Quoted(text).to_string()),
        ('s' | 'v', Value::Text(text)) => Ok(match flags.precision {
            Some(chars) => text.chars().take(chars).collect(),
            None => text.clone(),
        }),
        ('s' | 'v', Value::Duration(_) | Value::Time(_) | Value::Map(_)) => print(value),
        ('v', Value::Nil) => Ok("<nil>".to_owned()),
        ('v' | 's' | 'q' | 'd' | 'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 't' | 'x' | 'X', _) => refuse(),
        _ => Err(format!("printf: verb `%{verb}` is not supported")),
    }
}

const fn minus(whole: i64) -> &'static str {
    if whole < 0 { "-" } else { "" }
}

fn number_text(verb: char, flags: Flags, number: f64) -> String {
    let text = match (verb, flags.precision) {
        _ if !number.is_finite() => format_f(number),
        ('g', None) => format_g(number),
        ('g', Some(precision)) => format_g_precision(number, precision),
        ('e', precision) => format_e(number, precision.unwrap_or(6)),
        (_, precision) => format!("{number:.*}", precision.unwrap_or(6)),
    };
    signed(&text, flags)
}

/// Puts the sign that the flags ask for before a number.
fn signed(text: &str, flags: Flags) -> String {
    match text.chars().next() {
        Some('-' | '+') => text.to_owned(),
        _ if flags.plus => format!("+{text}"),
        _ if flags.space => format!(" {text}"),
        _ => text.to_owned(),
    }
}

fn pad(text: String, flags: Flags) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if flags.left {
        return text + &" ".repeat(missing);
    }
    if flags.zero {
        let sign = text.chars().next().filter(|c| matches!(c, '-' | '+')).map(String::from).unwrap_or_default();
        let digits = text.strip_prefix(sign.as_str()).unwrap_or(&text);
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &text
}
