use proptest::prelude::*;
use regex_automata::meta;

use super::fast::Shape;
use super::{MAX_PATTERN_BYTES, Regex, syntax};

#[test]
fn groups_are_known_by_number_and_name() {
    let names = |pattern: &str| -> Vec<String> {
        let regex = Regex::unanchored(pattern).unwrap();
        regex.group_names().iter().map(|name| name.as_deref().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(names("active"), ["-"]);
    assert_eq!(names("^(.*)_(?P<kind>sum|count)(?:x)$"), ["-", "-", "kind"]);
}

#[test]
fn what_go_takes_is_taken_with_its_meaning() {
    for (pattern, matching, other) in [
        // Literal braces, brackets, classes.
        ("a{", "a{", "a"),
        ("{foo}", "{foo}", "foo"),
        ("a{,5}", "a{,5}", "aaa"),
        ("x{2", "x{2", "xx"),
        ("x{02}", "x{02}", "xx"),
        ("a{2}", "aa", "a{2}"),
        ("a{2,}", "aaaa", "a"),
        ("a{0}b", "b", "ab"),
        ("[[a]", "[", "[a"),
        ("[]a]", "]", "[]a]"),
        ("[^]a]", "b", "]"),
        ("[a-]", "-", "b"),
        ("[-a]", "-", "b"),
        ("[a&&b]", "&", "c"),
        ("[a~~b]", "~", "c"),
        ("[\\d-z]", "-", "x"),
        ("[[:alpha:]_]+", "ab_", "a1"),
        ("[[:^digit:]]", "x", "1"),
        ("[[:word:]]", "_", "-"),
        ("[\\x61-\\x{63}]", "b", "d"),
        // Escapes.
        ("\\<a\\>", "<a>", "a"),
        ("\\Qa.b*\\E+", "a.b**", "axb*"),
        ("\\101\\0\\x41\\x{1F600}", "A\0A😀", "A"),
        ("\\a\\f\\t\\n\\r\\v", "\u{7}\u{c}\t\n\r\u{b}", ""),
        ("\\_\\-\\/", "_-/", ""),
        ("\\D\\W\\S", "x x", "1a1"),
        ("\\pN\\p{Greek}\\P{^Lu}", "1αA", "aαA"),
        ("\\p{Any}\\PL", "é1", "éé"),
        ("\\Aa\\z", "a", "b"),
        // Only ASCII.
        ("\\d", "1", "\u{663}"),
        ("\\w", "e", "é"),
        ("\\s", " ", "\u{a0}"),
        (".\\b.", "a-", "ab"),
        (".\\B.", "ab", "a-"),
        ("a\\bé", "aé", "é"),
        // Flags and groups.
        (".", "\n", ""),
        ("(?-s).", "x", "\n"),
        ("(?i)straße", "STRAẞE", "STRASSE"),
        ("(?i)k", "\u{212a}", "x"),
        ("(?i)[a-c]x", "BX", "DX"),
        ("(?i)\\w", "\u{17f}", "é"),
        ("a(?i)b(?-i)c", "aBc", "aBC"),
        ("(?i:a)b", "Ab", "AB"),
        ("(?m)a$\n^b", "a\nb", "ab"),
        ("(?U)a+", "aa", "b"),
        ("(?P<n>a)(?<m>b)(?P<n>c)", "abc", "ab"),
        ("(?)a", "a", ""),
        // Repetition.
        ("^*", "", "a"),
        ("a*?b+?c??", "abc", "c"),
        ("(a*)*", "aa", "b"),
        ("a|", "", "b"),
        ("|a", "a", "b"),
        ("()", "", "a"),
        ("a)(b", "ab", "a"),
        ("a*(?i)*", "aaa", "b"),
    ] {
        let regex = Regex::anchored(pattern).unwrap_or_else(|error| panic!("{error}"));
        assert!(regex.is_match(matching), "{pattern} {matching:?}");
        assert!(!regex.is_match(other), "{pattern} {other:?}");
    }
}

#[test]
fn quoted_text_without_an_end_goes_on_to_the_end() {
    assert!(Regex::unanchored("\\Qa|b").unwrap().is_match("xa|by"));
    // The anchors stand behind it, as in Prometheus.
    assert_eq!(Regex::anchored("\\Qa").unwrap_err().reason, "missing closing ): `^(?s:\\Qa)$`");
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    for (pattern, reason) in [
        ("x**", "invalid nested repetition operator: `**`"),
        ("x*?+", "invalid nested repetition operator: `*?+`"),
        ("x{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("(?i)?a", "missing argument to repetition operator: `?`"),
        ("{2}", "missing argument to repetition operator: `{2}`"),
        ("x{1001}", "invalid repeat count: `{1001}`"),
        ("x{2,1}", "invalid repeat count: `{2,1}`"),
        ("x{1,99999999999}", "invalid repeat count: `{1,99999999999}`"),
        ("(x{50}){21}", "invalid repeat count: `{21}`"),
        ("((x{10}){10}){11}", "invalid repeat count: `{11}`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        ("(?P<a b>a)", "invalid named capture: `(?P<a b>`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("\\p{IsGreek}", "invalid character class range: `\\p{IsGreek}`"),
        ("\\p{greek}", "invalid character class range: `\\p{greek}`"),
        ("\\p{Grek}", "invalid character class range: `\\p{Grek}`"),
        ("\\p{L", "invalid character class range: `\\p{L`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
        ("[a-\\d]", "invalid escape sequence: `\\d`"),
        ("[a", "missing closing ]: `[a`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `)`"),
        ("\\1", "invalid escape sequence: `\\1`"),
        ("\\8", "invalid escape sequence: `\\8`"),
        ("\\q", "invalid escape sequence: `\\q`"),
        ("\\E", "invalid escape sequence: `\\E`"),
        ("\\C", "invalid escape sequence: `\\C`"),
        ("\\Z", "invalid escape sequence: `\\Z`"),
        ("\\x", "invalid escape sequence: `\\x`"),
        ("\\x{}", "invalid escape sequence: `\\x{}`"),
        ("\\x{110000}", "invalid escape sequence: `\\x{110000`"),
        ("\\é", "invalid escape sequence: `\\é`"),
        ("\\", "trailing backslash at end of expression: ``"),
    ] {
        let error = Regex::unanchored(pattern).expect_err(pattern);
        assert_eq!(error.reason, reason, "{pattern}");
    }
}

#[test]
fn size_is_bounded() {
    let reason = |pattern: &str| Regex::anchored(pattern).unwrap_err().reason;
    assert_eq!(reason(&"x".repeat(MAX_PATTERN_BYTES + 1)), "longer than 1048576 bytes");
    assert_eq!(reason(&"(".repeat(1000)), "expression nests too deeply");
    assert_eq!(reason(&format!("{}a{}", "(".repeat(249), ")".repeat(249))), "expression nests too deeply");
    assert!(Regex::anchored(&format!("{}a{}", "(".repeat(240), ")".repeat(240))).is_ok());
    assert_eq!(reason(&format!("a{}", "(?i)*".repeat(300))), "expression nests too deeply");
    assert_eq!(reason(&"()".repeat(1001)), "more than 1000 groups");
    assert_eq!(reason("(\\pL{30}x){30}|(\\pL{29}y){30}|(\\pL{28}z){30}"), "its automaton exceeds 10485760 bytes");
    let pods: Vec<String> = (0..5000).map(|index| format!("lightning-asr-7d4b9c6f5d-{index:05}")).collect();
    let regex = Regex::anchored(&pods.join("|")).unwrap();
    assert_eq!(regex.literal_alternatives().map(<[_]>::len), Some(5000));
    assert!(regex.is_match(&pods[77]) && !regex.is_match("lightning-asr"));
}

#[test]
fn common_shapes_need_no_automaton() {
    let literals = |texts: &[&str]| Shape::Literals(texts.iter().map(|&text| text.into()).collect());
    for (pattern, shape) in [
        ("", literals(&[""])),
        ("asr", literals(&["asr"])),
        ("a\\.b", literals(&["a.b"])),
        ("^asr$", literals(&["asr"])),
        ("b|a|b", literals(&["a", "b"])),
        ("foo|foobar|", literals(&["", "foo", "foobar"])),
        ("(prod|dev)-(a|b)", literals(&["dev-a", "dev-b", "prod-a", "prod-b"])),
        ("5..?", Shape::Other),
        ("[45]x?", literals(&["4", "4x", "5", "5x"])),
        ("(?i)ab", literals(&["AB", "Ab", "aB", "ab"])),
        (".*", Shape::Prefix("".into(), 0)),
        ("(.*)", Shape::Prefix("".into(), 0)),
        (".+", Shape::Prefix("".into(), 1)),
        ("asr.*", Shape::Prefix("asr".into(), 0)),
        ("asr-.+", Shape::Prefix("asr-".into(), 1)),
        (".*asr", Shape::Suffix("asr".into(), 0)),
        (".+?asr", Shape::Suffix("asr".into(), 1)),
        (".*asr.*", Shape::Contains("asr".into())),
        (".*asr.+", Shape::Other),
        ("(a|b).*", Shape::Other),
        ("(?-s)a.*", Shape::Other),
        ("(?m)^a$", Shape::Other),
        ("a\\b", Shape::Other),
    ] {
        assert_eq!(Regex::anchored(pattern).unwrap().0.shape, shape, "{pattern}");
        assert_eq!(Regex::unanchored(pattern).unwrap().0.shape == Shape::Other, pattern != "^asr$", "{pattern}");
    }
    assert_eq!(Regex::anchored("asr-.+").unwrap().literal_prefix(), Some("asr-"));
    assert!(Regex::anchored("(.*)").unwrap().matches_everything());
    assert!(!Regex::anchored(".+").unwrap().matches_everything());
}

#[test]
fn templates_are_filled_as_go_fills_them() {
    let regex = Regex::anchored("(?P<first>[a-z]+)-([0-9]+)(x)?").unwrap();
    let captures = regex.captures("ab-12").unwrap();
    for (template, filled) in [
        ("", ""),
        ("plain", "plain"),
        ("$1", "ab"),
        ("${1}", "ab"),
        ("$first.$2", "ab.12"),
        ("${first}x", "abx"),
        ("$0", "ab-12"),
        ("$1x", ""),
        ("${1}x", "abx"),
        ("$3|$9|$none", "||"),
        ("$$1", "$1"),
        ("$", "$"),
        ("a$", "a$"),
        ("$-$1", "$-ab"),
        ("${1", "${1"),
        ("${}", "${}"),
        ("$01", ""),
        ("$é1", ""),
    ] {
        assert_eq!(captures.expand(template), filled, "{template}");
    }
    assert_eq!(captures.get(3), None);
    assert!(regex.captures("ab-").is_none());
    let twice = Regex::anchored("(?P<n>a)?(?P<n>b)").unwrap();
    assert_eq!(twice.captures("b").unwrap().name("n"), Some("b"));
    assert_eq!(Regex::anchored("lit.*").unwrap().captures("literal").unwrap().expand("<$0>$1"), "<literal>");
}

#[test]
fn every_match_is_replaced() {
    let regex = Regex::unanchored("a(.)").unwrap();
    assert_eq!(regex.replace_all("xabyacz", "<$1>"), "x<b>y<c>z");
    assert_eq!(regex.replace_all("none", "<$1>"), "none");
    assert_eq!(Regex::anchored("ab").unwrap().replace_all("ab", "<$0>"), "<ab>");
    assert_eq!(Regex::unanchored("(?U)a+").unwrap().replace_all("aa", "x"), "xx");
}

/// Expressions that mean the same in the syntax of the `regex` crate.
fn shared_syntax() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abcé]{1,3}",
        Just(".".to_owned()),
        Just("[ab]".to_owned()),
        Just("[^a]".to_owned()),
        Just("[a-c]".to_owned()),
        Just("\\.".to_owned()),
        Just(String::new()),
        Just("(?i:aB)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
            (inner.clone(), "[*+?]|\\{1,2\\}|\\{0\\}|\\{2,\\}")
                .prop_map(|(part, operator)| format!("(?:{part}){operator}")),
            (inner, "[*+?]\\?").prop_map(|(part, operator)| format!("(?:{part}){operator}")),
        ]
    })
}

proptest! {
    #[test]
    fn matches_as_another_parser_of_the_same_syntax(pattern in shared_syntax(), texts in proptest::collection::vec("[abcéB.\n]{0,6}", 8)) {
        let full = format!("^(?s:{pattern})$");
        let other = meta::Regex::new(&full).unwrap();
        let ours = Regex::anchored(&pattern).unwrap();
        let without_shape = meta::Regex::builder().build_from_hir(&syntax::parse(&full).unwrap().hir).unwrap();
        for text in &texts {
            prop_assert_eq!(ours.is_match(text), other.is_match(text), "{} {:?}", pattern, text);
            prop_assert_eq!(without_shape.is_match(text), other.is_match(text), "{} {:?}", pattern, text);
            let mut groups = other.create_captures();
            other.captures(text, &mut groups);
            let captures = ours.captures(text);
            for group in 0..groups.group_len() {
                let expected = groups.get_group(group).and_then(|span| text.get(span.range()));
                prop_assert_eq!(captures.as_ref().and_then(|captures| captures.get(group)), expected, "{} {:?}", pattern, text);
            }
        }
    }

    #[test]
    fn no_pattern_panics(pattern in "[a{}0-9,()\\[\\]\\\\^$|*+?.:<>PpQExdwLis-]{0,24}", text in "[a-z0-9{}]{0,8}") {
        if let Ok(regex) = Regex::anchored(&pattern) {
            let matches = regex.is_match(&text);
            prop_assert_eq!(regex.captures(&text).is_some(), matches);
        }
        if let Ok(regex) = Regex::unanchored(&pattern) {
            prop_assert_eq!(regex.captures(&text).is_some(), regex.is_match(&text));
        }
    }
}
