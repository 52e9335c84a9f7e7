use super::*;

#[test]
fn fields_print_as_go_prints_them() {
    check("series <<.Series>>", Ok("series foo"));
    check("<<.LabelValuesByName>>", Ok("map[a:b c:d|e]"));
    check("<<.GroupBySlice>> <<len .GroupBySlice>>", Ok("[pod zone] 2"));
    check("<<index .LabelValuesByName \"c\">>;<<index .LabelValuesByName \"none\">>", Ok("d|e;"));
    check("<<index .GroupBySlice 1>> <<.LabelValuesByName.a>>", Ok("zone b"));
}

#[test]
fn blocks_choose_and_repeat() {
    check("<<if false>>x<<end>>", Ok(""));
    check("<<if eq .Series \"bar\">>a<<else if .Series>>b<<else>>c<<end>>", Ok("b"));
    check("<<range $i, $l := .GroupBySlice>><<if $i>>,<<end>><<$l>><<end>>", Ok("pod,zone"));
    check("<<range .GroupBySlice>><<.>>-<<$.Series>> <<end>>", Ok("pod-foo zone-foo "));
    check("<<range $k, $v := .LabelValuesByName>><<printf \"%s=~%q \" $k $v>><<end>>", Ok("a=~\"b\" c=~\"d|e\" "));
    check("<<with .Series>>[<<.>>]<<else>>none<<end>>", Ok("[foo]"));
    check("<<range .Empty>>x<<else>>none<<end>>", Ok("none"));
}

#[test]
fn pipelines_variables_and_functions_compose() {
    check("<<.Series | printf \"%s_%d\" \"x\" | len>>", Err("wrong arguments: printf".to_owned()));
    check("<<.Series | printf \"%s_%s\" \"x\">>", Ok("x_foo"));
    check("<<$x := .Series>><<$x = print $x 1 2>><<$x>>", Ok("foo1 2"));
    check("<<join .GroupBySlice \"|\">> <<join \",\" .GroupBySlice>>", Ok("pod|zone pod,zone"));
    check("<<(index .LabelValuesByName \"a\") | printf \"%q\">>", Ok("\"b\""));
    check("<<and .Series .Empty>><<or .Empty .Series>><<not .Empty>>", Ok("[]footrue"));
    check("<<index $.GroupBySlice 0>> <<lt 1 2>> <<ge \"a\" \"b\">>", Ok("pod true false"));
}

#[test]
fn comments_and_trim_markers_leave_no_trace() {
    check("a <<- /* note */ ->> b", Ok("ab"));
    check("a\n<<- if true ->>\n b <<end>>c", Ok("ab c"));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    check("<<html .Series>>", Err("line 1: the function `html` is not supported here".to_owned()));
    check("a\n<<template \"x\">>", Err("line 2: `template` is not supported here".to_owned()));
    check("<<1.5>>", Err("line 1: the number `1.5` is not supported here".to_owned()));
    check("<<.Series.Method>>", Err("can't evaluate field Method of foo".to_owned()));
    check("<<.Nope>>", Err("can't evaluate field Nope: there is none".to_owned()));
}

#[test]
fn broken_templates_say_where() {
    check("x\n<<if .Series>>", Err("line 2: `if` without `end`".to_owned()));
    check("<<end>>", Err("line 1: unexpected `end`".to_owned()));
    check("<<.Series", Err("line 1: unclosed action: no `>>`".to_owned()));
    check("<<\"x>>", Err("line 1: unterminated string".to_owned()));
    check("<<$y>>", Err("line 1: undefined variable `$y`".to_owned()));
    check("<<>>", Err("line 1: missing value".to_owned()));
    check("<<(.Series>>", Err("line 1: missing `)`".to_owned()));
    check("<<.Series .Series>>", Err("line 1: a value is not a function and takes no argument".to_owned()));
    check(&"<<if .Series>>".repeat(100), Err("template is too large: nesting".to_owned()));
    check(&format!("<<{}1>>", "(".repeat(100)), Err("template is too large: nesting".to_owned()));
}

#[test]
fn execution_is_bounded() {
    let nested = "<<range .Many>><<range $.Many>><<range $.Many>>x<<end>><<end>><<end>>";
    check(nested, Err("template exceeds its limit: steps".to_owned()));
    let long = format!("<<range .Many>>{}<<end>>", "x".repeat(60_000));
    check(&long, Err("template exceeds its limit: bytes of output".to_owned()));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(source in "(<<|>>|[ -~]|\n|ä){0,60}") {
        if let Ok(template) = Template::parse(&source, "<<", ">>") {
            let _outcome = template.execute(&data());
        }
    }
}

fn data() -> Value {
    let texts = |names: &[&str]| Value::List(names.iter().map(|&name| name.to_owned()).collect());
    let map = [("a", "b"), ("c", "d|e")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Value::Record(Arc::new(BTreeMap::from([
        ("Series", Value::Text("foo".to_owned())),
        ("LabelValuesByName", Value::Map(Arc::new(BTreeMap::from(map)))),
        ("GroupBySlice", texts(&["pod", "zone"])),
        ("Empty", texts(&[])),
        ("Many", texts(&["x"; 200])),
    ])))
}

#[track_caller]
fn check(source: &str, expected: Result<&str, String>) {
    let outcome = Template::parse(source, "<<", ">>").and_then(|template| template.execute(&data()));
    match (outcome, expected) {
        (Err(TemplateError::Execute(_)), Err(reason)) if reason.starts_with("wrong arguments") => {}
        (outcome, expected) => {
            assert_eq!(outcome.as_deref().map_err(ToString::to_string), expected.as_deref().map_err(Clone::clone));
        }
    }
}
