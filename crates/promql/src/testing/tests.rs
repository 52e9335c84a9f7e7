use crate::testing::run_script;

#[test]
fn own_scripts_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let report = run_script(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(report.failures, [], "{}", path.display());
        count += report.total;
    }
    assert!(count > 0);
}

#[test]
fn unknown_lines_end_the_script_with_their_number() {
    let check = |text: &str, expected: &str| assert_eq!(run_script(text).unwrap_err().to_string(), expected);
    check("\nignore\n", "line 2: invalid command: ignore");
    check("load 5m\n  a 1 x\n", "line 2: bad value: x");
    check("eval instant at 5m a\n  expect nothing\n", "line 2: invalid expect line: expect nothing");
    check(
        "eval instant at 5m a\n  {} 1 2\n",
        "line 2: several values of an instant evaluation need an `expect range vector` line",
    );
    check("load 5m\n  a{} 1x999999999999\n", "line 2: bad value: 1x999999999999");
}

#[test]
fn wrong_values_fail_their_case() {
    let text = "load 1m\n  a 1 2 3\n\neval instant at 1m a\n  a 3\n\neval instant at 1m a\n  a 2\n";
    let report = run_script(text).unwrap();
    assert_eq!((report.total, report.passed()), (2, 1));
    assert_eq!((report.failures[0].line, report.failures[0].message.as_str()), (4, "expected 3 for a, got 2"));
}

#[test]
fn expected_errors_must_happen() {
    let text = "eval instant at 1m vector(1)\n  expect fail\n";
    assert_eq!(run_script(text).unwrap().failures[0].message, "expected an error");
}
