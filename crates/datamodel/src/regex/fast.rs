//! Expressions that need no automaton: most matchers on labels are a literal or a list of them.
//!
//! Rule: a shape answers exactly what the automaton would answer.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The most literals that one class or a product of alternatives is spelled out to. A list that stands in
/// the pattern has no bound of its own.
const MAX_SPELLED_OUT: usize = 256;

/// What an anchored expression asks of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// To be one of these, ascending and unique.
    Literals(Vec<Box<str>>),
    /// To begin with this, and have so many bytes more at least (0 or 1).
    Prefix(Box<str>, usize),
    /// To end with this, and have so many bytes more at least (0 or 1).
    Suffix(Box<str>, usize),
    /// To contain this.
    Contains(Box<str>),
    /// Something that only the automaton can tell.
    Other,
}

impl Shape {
    /// The shape of an expression with its anchors.
    pub(super) fn of(hir: &Hir) -> Self {
        let whole = std::slice::from_ref(hir);
        let mut parts = if let HirKind::Concat(parts) = hir.kind() { parts.as_slice() } else { whole };
        let is_look = |part: &Hir, look: Look| matches!(part.kind(), HirKind::Look(found) if *found == look);
        let mut anchors = (false, false);
        while let Some((_, rest)) = parts.split_first().filter(|(first, _)| is_look(first, Look::Start)) {
            anchors.0 = true;
            parts = rest;
        }
        while let Some((_, rest)) = parts.split_last().filter(|(last, _)| is_look(last, Look::End)) {
            anchors.1 = true;
            parts = rest;
        }
        if anchors != (true, true) {
            return Self::Other;
        }
        if let Some(literals) = product(parts) {
            let unique: BTreeSet<String> = literals.into_iter().collect();
            return Self::Literals(unique.into_iter().map(String::into_boxed_str).collect());
        }
        let run = |parts: &[Hir]| -> Option<Box<str>> {
            match product(parts)?.as_slice() {
                [literal] => Some(literal.as_str().into()),
                _ => None,
            }
        };
        let ends = (parts.first().and_then(any_text), parts.last().and_then(any_text));
        let shape = match (parts, ends) {
            ([_], (Some(least), _)) => Some(Self::Prefix("".into(), least)),
            ([inner @ .., _], (None, Some(least))) => run(inner).map(|literal| Self::Prefix(literal, least)),
            ([_, inner @ ..], (Some(least), None)) => run(inner).map(|literal| Self::Suffix(literal, least)),
            ([_, inner @ .., _], (Some(0), Some(0))) => run(inner).map(Self::Contains),
            _ => None,
        };
        shape.unwrap_or(Self::Other)
    }

    /// Whether a text matches; `None` if only the automaton can tell.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        Some(match self {
            Self::Literals(literals) => literals.binary_search_by(|literal| (**literal).cmp(text)).is_ok(),
            Self::Prefix(prefix, least) => text.starts_with(&**prefix) && text.len() >= prefix.len() + least,
            Self::Suffix(suffix, least) => text.ends_with(&**suffix) && text.len() >= suffix.len() + least,
            Self::Contains(literal) => text.contains(&**literal),
            Self::Other => return None,
        })
    }
}

/// For `.*` and `.+` over all characters, the least number of characters.
fn any_text(hir: &Hir) -> Option<usize> {
    let hir = inside(hir);
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = inside(&repetition.sub).kind() else { return None };
    let is_any = matches!(class.ranges(), [range] if range.start() == '\0' && range.end() == char::MAX);
    let least = usize::try_from(repetition.min).ok().filter(|least| *least <= 1)?;
    (is_any && repetition.max.is_none()).then_some(least)
}

/// What is in a group.
fn inside(mut hir: &Hir) -> &Hir {
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    hir
}

/// All texts that a sequence matches, if they are few or listed.
fn product(parts: &[Hir]) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for part in parts {
        let choices = literals(part)?;
        match choices.as_slice() {
            [only] => all.iter_mut().for_each(|text| text.push_str(only)),
            _ if all.len() > 1 && all.len().saturating_mul(choices.len()) > MAX_SPELLED_OUT => return None,
            _ => all = all.iter().flat_map(|text| choices.iter().map(move |next| format!("{text}{next}"))).collect(),
        }
    }
    Some(all)
}

/// All texts that a part matches. Depth is bounded by the parser.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Concat(parts) => product(parts),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(literals(part)?);
            }
            Some(all)
        }
        HirKind::Class(Class::Unicode(class)) => {
            let size: usize = class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            if size == 0 || size > MAX_SPELLED_OUT {
                return None;
            }
            Some(class.ranges().iter().flat_map(|range| range.start()..=range.end()).map(String::from).collect())
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = literals(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        _ => None,
    }
}
