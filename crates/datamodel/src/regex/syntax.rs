//! RE2's syntax as Go's `regexp` reads it, turned into the representation that regex-automata compiles.
//!
//! The syntax of the `regex` crate is another one: it refuses literal braces and `\Q…\E`, takes `x**`, and
//! gives `[a&&b]` and `\<` other meanings. So nothing of its parser is used for patterns.
//!
//! ```text
//! pattern ──▶ Parser: a stack of open groups, each with alternatives, items and a run of literals ──▶ Hir
//! ```
//!
//! Rule: what Go's `regexp.Compile` takes, refuses and means, this does; it recurses nowhere.

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition};

use super::class;

/// The largest count of a repetition, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// The deepest nesting of an expression. Go allows 1,000; what compiles it here recurses, and no expression
/// that a person writes comes near.
const MAX_HEIGHT: u32 = 250;

/// The most groups that capture.
const MAX_GROUPS: u32 = 1000;

/// What a pattern breaks, in the words of Go.
type Reason = String;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    pub hir: Hir,
    /// Names of the groups, the whole match first.
    pub names: Vec<Option<Box<str>>>,
}

/// Parses a pattern. Go's flags `Perl` are in force: `^` and `$` are the ends of the text until `(?m)`.
pub(super) fn parse(pattern: &str) -> Result<Parsed, Reason> {
    let mut parser = Parser {
        rest: pattern,
        flags: Flags::default(),
        open: Vec::new(),
        frame: Frame::default(),
        names: vec![None],
        before: None,
    };
    while !parser.rest.is_empty() {
        parser.step()?;
    }
    if !parser.open.is_empty() {
        return Err(format!("missing closing ): `{pattern}`"));
    }
    let node = parser.frame.close()?;
    Ok(Parsed { hir: node.hir, names: parser.names })
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_matches_line_feed: bool,
    swap_greed: bool,
}

/// A part of an expression.
#[derive(Debug)]
struct Node {
    hir: Hir,
    height: u32,
    /// The largest product of nested repetition counts in it.
    repeats: u32,
}

impl Node {
    const fn leaf(hir: Hir) -> Self {
        Self { hir, height: 1, repeats: 1 }
    }

    /// The node above others.
    fn above(hir: Hir, height: u32, repeats: u32) -> Result<Self, Reason> {
        if height >= MAX_HEIGHT {
            return Err("expression nests too deeply".to_owned());
        }
        Ok(Self { hir, height: height + 1, repeats })
    }
}

/// An open group, or the whole expression.
#[derive(Debug, Default)]
struct Frame {
    /// The number of the group, if it captures.
    capture: Option<u32>,
    /// Flags to restore at its end.
    outer_flags: Flags,
    alternatives: Vec<Node>,
    items: Vec<Node>,
    /// Characters not yet in `items`.
    literals: String,
}

impl Frame {
    fn flush(&mut self) {
        if !self.literals.is_empty() {
            let literals = std::mem::take(&mut self.literals);
            self.items.push(Node::leaf(Hir::literal(literals.into_bytes())));
        }
    }

    fn push(&mut self, hir: Hir) {
        self.flush();
        self.items.push(Node::leaf(hir));
    }

    /// Takes the last item, for a repetition.
    fn pop(&mut self) -> Option<Node> {
        if let Some(last) = self.literals.pop() {
            return Some(Node::leaf(Hir::literal(last.to_string().into_bytes())));
        }
        self.items.pop()
    }

    /// Ends an alternative.
    fn end_alternative(&mut self) -> Result<(), Reason> {
        self.flush();
        let items = std::mem::take(&mut self.items);
        let node = combine(items, Hir::concat)?;
        self.alternatives.push(node);
        Ok(())
    }

    fn close(mut self) -> Result<Node, Reason> {
        self.end_alternative()?;
        let node = combine(self.alternatives, Hir::alternation)?;
        let Some(index) = self.capture else { return Ok(node) };
        let capture = Hir::capture(Capture { index, name: None, sub: Box::new(node.hir) });
        Node::above(capture, node.height, node.repeats)
    }
}

/// Puts nodes under one; a single one stays as it is.
fn combine(mut nodes: Vec<Node>, with: fn(Vec<Hir>) -> Hir) -> Result<Node, Reason> {
    if nodes.len() == 1
        && let Some(node) = nodes.pop()
    {
        return Ok(node);
    }
    let height = nodes.iter().map(|node| node.height).max().unwrap_or(0);
    let repeats = nodes.iter().map(|node| node.repeats).max().unwrap_or(1);
    Node::above(with(nodes.into_iter().map(|node| node.hir).collect()), height, repeats)
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    /// The groups around the present one.
    open: Vec<Frame>,
    frame: Frame,
    names: Vec<Option<Box<str>>>,
    /// The text from the repetition operator on that was read just before.
    before: Option<&'a str>,
}

impl<'a> Parser<'a> {
    fn step(&mut self) -> Result<(), Reason> {
        let start = self.rest;
        let last_repeat = self.before.take();
        let Some(c) = self.take() else { return Ok(()) };
        match c {
            '(' if self.rest.starts_with('?') => self.flags_or_group(start)?,
            '(' => self.open_group(true, None)?,
            ')' => self.close_group()?,
            '|' => self.frame.end_alternative()?,
            '^' if self.flags.multi_line => self.frame.push(Hir::look(Look::StartLF)),
            '^' => self.frame.push(Hir::look(Look::Start)),
            '$' if self.flags.multi_line => self.frame.push(Hir::look(Look::EndLF)),
            '$' => self.frame.push(Hir::look(Look::End)),
            '.' if self.flags.dot_matches_line_feed => self.frame.push(Hir::dot(Dot::AnyChar)),
            '.' => self.frame.push(Hir::dot(Dot::AnyCharExceptLF)),
            '[' => {
                let class = self.bracket(start)?;
                self.frame.push(Hir::class(Class::Unicode(class)));
            }
            '*' => self.repeat(start, last_repeat, 0, None, false)?,
            '+' => self.repeat(start, last_repeat, 1, None, false)?,
            '?' => self.repeat(start, last_repeat, 0, Some(1), false)?,
            '{' => match counts(start) {
                None => self.literal('{'),
                Some((counts, after)) => {
                    self.rest = after;
                    let size_error = || format!("invalid repeat count: `{}`", consumed(start, after));
                    let (min, max) = counts.ok_or_else(size_error)?;
                    self.repeat(start, last_repeat, min, max, true)?;
                }
            },
            '\\' => self.backslash(start)?,
            c => self.literal(c),
        }
        Ok(())
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn literal(&mut self, c: char) {
        if self.flags.fold_case {
            let folded = class::fold(class::ranges(&[(c, c)]));
            self.frame.push(Hir::class(Class::Unicode(folded)));
        } else {
            self.frame.literals.push(c);
        }
    }

    /// A repetition of the item before.
    fn repeat(
        &mut self,
        start: &'a str,
        last_repeat: Option<&'a str>,
        min: u32,
        max: Option<u32>,
        counted: bool,
    ) -> Result<(), Reason> {
        let lazy = self.rest.starts_with('?');
        if lazy {
            self.take();
        }
        if let Some(last) = last_repeat {
            return Err(format!("invalid nested repetition operator: `{}`", consumed(last, self.rest)));
        }
        let operator = consumed(start, self.rest);
        let Some(item) = self.frame.pop() else {
            return Err(format!("missing argument to repetition operator: `{operator}`"));
        };
        self.frame.flush();
        // As upstream, `{0}` hides what is under it, and only counted repetitions multiply.
        let count = if counted { max.unwrap_or(min).max(1) } else { 1 };
        let repeats = if max == Some(0) { 1 } else { item.repeats.saturating_mul(count) };
        if counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && repeats > MAX_REPEAT {
            return Err(format!("invalid repeat count: `{operator}`"));
        }
        let greedy = lazy == self.flags.swap_greed;
        let repetition = Repetition { min, max, greedy, sub: Box::new(item.hir) };
        self.frame.items.push(Node::above(Hir::repetition(repetition), item.height, repeats)?);
        self.before = Some(start);
        Ok(())
    }

    fn open_group(&mut self, captures: bool, name: Option<&str>) -> Result<(), Reason> {
        let mut frame = Frame { outer_flags: self.flags, ..Frame::default() };
        if captures {
            let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            if index > MAX_GROUPS {
                return Err(format!("more than {MAX_GROUPS} groups"));
            }
            frame.capture = Some(index);
            self.names.push(name.map(Box::from));
        }
        if self.open.len() >= MAX_HEIGHT as usize {
            return Err("expression nests too deeply".to_owned());
        }
        self.frame.flush();
        self.open.push(std::mem::replace(&mut self.frame, frame));
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Reason> {
        let Some(outer) = self.open.pop() else {
            return Err("unexpected ): `)`".to_owned());
        };
        let group = std::mem::replace(&mut self.frame, outer);
        self.flags = group.outer_flags;
        self.frame.items.push(group.close()?);
        Ok(())
    }

    /// What begins with `(?`; `start` is the text from the parenthesis on.
    fn flags_or_group(&mut self, start: &'a str) -> Result<(), Reason> {
        self.take();
        let named = self.rest.strip_prefix("P<").or_else(|| self.rest.strip_prefix('<'));
        if let Some(named) = named {
            let invalid = |text: &str| format!("invalid named capture: `{text}`");
            let (name, after) = named.split_once('>').ok_or_else(|| invalid(start))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(invalid(consumed(start, after)));
            }
            self.rest = after;
            return self.open_group(true, Some(name));
        }
        let mut flags = self.flags;
        let mut set = true;
        let mut saw_flag = false;
        while let Some(c) = self.take() {
            let flag = match c {
                'i' => &mut flags.fold_case,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_matches_line_feed,
                'U' => &mut flags.swap_greed,
                '-' if set => {
                    set = false;
                    saw_flag = false;
                    continue;
                }
                ':' | ')' if set || saw_flag => {
                    if c == ':' {
                        self.open_group(false, None)?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            };
            *flag = set;
            saw_flag = true;
        }
        Err(format!("invalid or unsupported Perl syntax: `{}`", consumed(start, self.rest)))
    }

    /// What begins with a backslash outside brackets; `start` is the text from the backslash on.
    fn backslash(&mut self, start: &'a str) -> Result<(), Reason> {
        let mut behind = self.rest.chars();
        let look = match behind.next() {
            Some('A') => Look::Start,
            Some('z') => Look::End,
            Some('b') => Look::WordAscii,
            Some('B') => Look::WordAsciiNegate,
            Some('Q') => {
                let (literals, after) = behind.as_str().split_once("\\E").unwrap_or((behind.as_str(), ""));
                literals.chars().for_each(|c| self.literal(c));
                self.rest = after;
                return Ok(());
            }
            _ => {
                if let Some(class) = self.class_escape(start)? {
                    self.frame.push(Hir::class(Class::Unicode(class)));
                } else if let Some(c) = self.escape(start)? {
                    self.literal(c);
                } else {
                    self.frame.push(Hir::fail());
                }
                return Ok(());
            }
        };
        self.rest = behind.as_str();
        self.frame.push(Hir::look(look));
        Ok(())
    }

    /// `\d`, `\p{Greek}` and the like; `None` if another escape stands there. `start` is the text from the
    /// backslash on, `self.rest` what is behind it.
    fn class_escape(&mut self, start: &'a str) -> Result<Option<ClassUnicode>, Reason> {
        let mut behind = self.rest.chars();
        let Some(letter) = behind.next() else { return Ok(None) };
        let (class, mut negated) = if let Some(class) = class::perl(letter) {
            self.rest = behind.as_str();
            class
        } else if matches!(letter, 'p' | 'P') {
            self.rest = behind.as_str();
            let mut negated = letter == 'P';
            let mut name = self.unicode_name(start)?;
            if let Some(rest) = name.strip_prefix('^') {
                negated = !negated;
                name = rest;
            }
            let unknown = || format!("invalid character class range: `{}`", consumed(start, self.rest));
            (class::unicode(name).ok_or_else(unknown)?, negated)
        } else {
            return Ok(None);
        };
        let mut class = if self.flags.fold_case { class::fold(class) } else { class };
        if std::mem::take(&mut negated) {
            class.negate();
        }
        Ok(Some(class))
    }

    /// The name behind `\p`: one character, or in braces.
    fn unicode_name(&mut self, start: &'a str) -> Result<&'a str, Reason> {
        let invalid = || format!("invalid character class range: `{start}`");
        if let Some(braced) = self.rest.strip_prefix('{') {
            let (name, after) = braced.split_once('}').ok_or_else(invalid)?;
            self.rest = after;
            return Ok(name);
        }
        let from = self.rest;
        self.take().ok_or_else(invalid)?;
        Ok(consumed(from, self.rest))
    }

    /// The character of an escape; `None` for a surrogate, which no text has. `start` is the text from the
    /// backslash on, `self.rest` what is behind it.
    fn escape(&mut self, start: &'a str) -> Result<Option<char>, Reason> {
        let Some(c) = self.take() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        let code = match c {
            // A single digit that is not zero would be a reference back.
            '1'..='7' if !self.rest.starts_with(|next: char| ('0'..='7').contains(&next)) => None,
            '0'..='7' => Some(self.octal(c)),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        let code = code.ok_or_else(|| format!("invalid escape sequence: `{}`", consumed(start, self.rest)))?;
        Ok(char::from_u32(code))
    }

    /// Up to two more octal digits.
    fn octal(&mut self, first: char) -> u32 {
        let mut code = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.take();
        }
        code
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.take()?;
        if first != '{' {
            return Some(first.to_digit(16)? * 16 + self.take()?.to_digit(16)?);
        }
        let mut code = None;
        loop {
            let c = self.take()?;
            if c == '}' {
                return code;
            }
            let so_far: u32 = code.unwrap_or(0);
            let next = so_far * 16 + c.to_digit(16)?;
            // At most 21 bits, so that the next round cannot overflow.
            code = Some(next).filter(|code| *code <= u32::from(char::MAX));
            code?;
        }
    }

    /// A class in brackets; `start` is the text from the bracket on.
    fn bracket(&mut self, start: &'a str) -> Result<ClassUnicode, Reason> {
        let negated = self.rest.starts_with('^');
        if negated {
            self.take();
        }
        let mut class = ClassUnicode::empty();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(group) = self.posix_group()? {
                class.union(&group);
                continue;
            }
            if let Some(behind) = self.rest.strip_prefix('\\') {
                let escape = std::mem::replace(&mut self.rest, behind);
                if let Some(group) = self.class_escape(escape)? {
                    class.union(&group);
                    continue;
                }
                self.rest = escape;
            }
            let range = self.rest;
            let low = self.class_char(start)?;
            let mut high = low;
            let behind = self.rest.strip_prefix('-').filter(|behind| !behind.is_empty() && !behind.starts_with(']'));
            if let Some(behind) = behind {
                self.rest = behind;
                high = self.class_char(start)?;
                if high < low {
                    return Err(format!("invalid character class range: `{}`", consumed(range, self.rest)));
                }
            }
            let range = code_range(low, high);
            class.union(&if self.flags.fold_case { class::fold(range) } else { range });
        }
        self.take();
        if negated {
            class.negate();
        }
        Ok(class)
    }

    /// `[:alpha:]` in brackets, if one stands here.
    fn posix_group(&mut self) -> Result<Option<ClassUnicode>, Reason> {
        let start = self.rest;
        let Some((name, after)) = start.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) else {
            return Ok(None);
        };
        let (positive, negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let unknown = || format!("invalid character class range: `{}`", consumed(start, after));
        let class = class::posix(positive).ok_or_else(unknown)?;
        let mut class = if self.flags.fold_case { class::fold(class) } else { class };
        if negated {
            class.negate();
        }
        self.rest = after;
        Ok(Some(class))
    }

    /// One end of a range in brackets, as a code point; surrogates are let through.
    fn class_char(&mut self, bracket: &'a str) -> Result<u32, Reason> {
        let start = self.rest;
        match self.take() {
            None => Err(format!("missing closing ]: `{bracket}`")),
            Some('\\') => Ok(self.escape(start)?.map_or(SURROGATE, u32::from)),
            Some(c) => Ok(u32::from(c)),
        }
    }
}

/// Stands for any surrogate: none is in a text, and all lie between the same two characters.
const SURROGATE: u32 = 0xd800;

/// The characters between two code points, both included.
fn code_range(low: u32, high: u32) -> ClassUnicode {
    let start = char::from_u32(low).unwrap_or('\u{e000}');
    let end = char::from_u32(high).unwrap_or('\u{d7ff}');
    if start > end { ClassUnicode::empty() } else { ClassUnicode::new([ClassUnicodeRange::new(start, end)]) }
}

/// The part of `text` before `rest`, which is its end.
fn consumed<'a>(text: &'a str, rest: &str) -> &'a str {
    text.get(..text.len().saturating_sub(rest.len())).unwrap_or(text)
}

/// Least and largest count; no largest for `{2,}`.
type Counts = (u32, Option<u32>);

/// Reads `{2}`, `{2,}` or `{2,5}`. `None`: the brace is a literal. `Some(None)`: the numbers are too large or
/// in the wrong order.
fn counts(text: &str) -> Option<(Option<Counts>, &str)> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = number(rest)?;
            (Some(max), rest)
        }
    };
    let after = rest.strip_prefix('}')?;
    let too_large = min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min);
    Some(((!too_large).then_some((min, max)), after))
}

/// A decimal number without leading zeros, saturating.
fn number(text: &str) -> Option<(u32, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
