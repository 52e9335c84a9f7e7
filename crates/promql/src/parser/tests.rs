use crate::{Features, parse, parse_with};

/// Parses with everything on and compares the canonical text, or the error.
fn check(text: &str, expected: &str) {
    let mut features = Features::DEFAULT;
    for flag in ["promql-experimental-functions", "promql-extended-range-selectors", "promql-binop-fill-modifiers"] {
        assert!(features.enable(flag));
    }
    match parse_with(text, &features) {
        Ok(expr) => {
            let printed = expr.to_string();
            assert_eq!(printed, expected, "{text}");
            let again = parse_with(&printed, &features).unwrap_or_else(|error| panic!("{}", error.render(&printed)));
            assert_eq!(again.to_string(), printed, "{text}");
        }
        Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
    }
}

#[test]
fn expressions_print_canonically() {
    for (text, expected) in [
        ("1", "1"),
        ("1e3", "1000"),
        ("-Inf", "-Inf"),
        ("5m", "5m"),
        ("foo", "foo"),
        ("foo { a = 'b' , c =~ `d.*` }", "foo{a=\"b\",c=~\"d.*\"}"),
        ("{\"my.metric\", x!=\"\"}", "{__name__=\"my.metric\",x!=\"\"}"),
        ("foo offset 5m @ 1.5", "foo @ 1.500 offset 5m"),
        ("foo[5m] offset -1h @ start()", "foo[5m] @ start() offset -1h"),
        ("rate(foo[5m:])", "rate(foo[5m:])"),
        (
            "max_over_time(rate(foo[5m])[1h:30s] @ end() offset 1d)",
            "max_over_time(rate(foo[5m])[1h:30s] @ end() offset 1d)",
        ),
        ("SUM BY (a, b) (foo)", "sum by (a, b) (foo)"),
        ("sum(foo) without (a)", "sum without (a) (foo)"),
        ("topk(5, foo)", "topk(5, foo)"),
        ("a + b * c ^ d ^ e", "a + b * c ^ d ^ e"),
        ("-a ^ 2", "-a ^ 2"),
        ("a == bool on (x) group_left (y) b", "a == bool on (x) group_left (y) b"),
        ("a / ignoring () group_right b", "a / ignoring () group_right () b"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + on(x) fill_right(-1) fill_left(2) b", "a + on (x) fill_left (2) fill_right (-1) b"),
        ("rate(foo[5m * 2 + step()])", "rate(foo[5m * 2 + step()])"),
        ("foo offset (5)", "foo offset (5)"),
        ("foo offset -2 ^ 2", "foo offset -2s ^ 2"),
        ("rate(foo[5m] anchored offset 1m)", "rate(foo[5m] anchored offset 1m)"),
        ("sum + by + start", "sum + by + start"),
        ("fill + fill", "fill + fill"),
        ("foo </ 5 >/ 2", "foo </ 5 >/ 2"),
        ("(((foo)))", "(((foo)))"),
        ("foo # comment\n + bar", "foo + bar"),
        ("\"a\\n\\xff\\u00e9\"", "\"a\\n\\xffé\""),
        ("foo and on () bar", "foo and on () bar"),
    ] {
        check(text, expected);
    }
}

#[test]
fn errors_name_the_place_and_the_reason() {
    for (text, expected) in [
        ("", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo(", "1:1: parse error: unknown function with name \"foo\""),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("rate(foo[5m]", "1:13: parse error: unclosed left parenthesis"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo or 1", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("foo offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        (
            "1 offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector \
             selector or a subquery",
        ),
        (
            "abs(foo[5m])",
            "1:5: parse error: expected type instant vector in call to function \"abs\", got range vector",
        ),
        ("time(1)", "1:1: parse error: expected 0 argument(s) in call to \"time\", got 1"),
        ("sum by foo (x)", "1:8: parse error: unexpected identifier \"foo\" in grouping opts, expected \"(\""),
        ("foo $", "1:5: parse error: unexpected character: '$'"),
        ("foo\n  ?", "2:3: parse error: unexpected character: '?'"),
        ("'unterminated", "1:1: parse error: unterminated quoted string"),
        ("foo offset (4d/0)", "1:15: parse error: division by zero"),
    ] {
        check(text, expected);
    }
}

#[test]
fn experimental_parts_are_refused_by_name_without_their_flag() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(text).unwrap_err().message, expected);
    };
    check("info(foo)", "function \"info\" is not enabled");
    check("foo[5m] smoothed", "smoothed modifier is experimental and not enabled");
    check("a + fill(0) b", "binop fill modifiers are experimental and not enabled");
    check(
        "limitk(1, a)",
        "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    );
}

#[test]
fn error_renders_with_a_caret() {
    let text = "sum(\n  rate(foo))";
    let error = parse(text).unwrap_err();
    let expected = "2:8: parse error: expected type range vector in call to function \"rate\", got instant vector\n  \
                    |   rate(foo))\n  |        ^^^";
    assert_eq!(error.render(text), expected);
}

#[test]
fn hostile_nesting_is_refused_without_overflow() {
    for text in [
        "(".repeat(100_000),
        "-".repeat(100_000),
        format!("{}1", "1+".repeat(100_000)),
        format!("a{}", "[1m:]".repeat(100_000)),
        format!("a[{}1]", "(".repeat(10_000)),
        format!("a[{}1]", "1+".repeat(10_000)),
    ] {
        let message = parse(&text).unwrap_err().message;
        assert!(message.contains("nests deeper than"), "{message}");
    }
}

#[test]
fn selectors_are_walked_from_left_to_right() {
    let expr = parse("sum(rate(a[5m])) + b * max_over_time(c[5m:])").unwrap();
    let names: Vec<_> = expr.selectors().map(|selector| selector.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}
