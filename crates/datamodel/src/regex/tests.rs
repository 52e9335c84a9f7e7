use super::Regex;

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
}

#[test]
fn every_match_is_replaced() {
    let regex = Regex::unanchored("a(.)").unwrap();
    assert_eq!(regex.replace_all("xabyacz", "<$1>"), "x<b>y<c>z");
    assert_eq!(regex.replace_all("none", "<$1>"), "none");
}
