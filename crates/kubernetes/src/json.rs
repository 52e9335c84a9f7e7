//! A YAML document in the form in which the API gives objects.
//!
//! Rule: a scalar becomes what YAML 1.2 sees in it; quoted it is a text.

use serde_json::{Map, Number, Value};
use yaml::{Kind, Node, Scalar};

/// The value of a document.
#[must_use]
pub fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar(scalar) => value_of_scalar(scalar),
        Kind::Sequence(items) => Value::Array(items.iter().map(value_of).collect()),
        Kind::Mapping(entries) => {
            let fields = entries.iter().map(|entry| (entry.key.text.to_string(), value_of(&entry.value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

fn value_of_scalar(scalar: &Scalar) -> Value {
    if scalar.is_null() {
        return Value::Null;
    }
    let boolean = scalar.as_bool().map(Value::Bool);
    let whole = || scalar.as_i64().map(Value::from);
    // NaN and the infinities are no numbers of JSON.
    let fraction = || scalar.as_f64().and_then(Number::from_f64).map(Value::Number);
    boolean.or_else(whole).or_else(fraction).unwrap_or_else(|| Value::String(scalar.text.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_what_they_look_like_unless_they_are_quoted() {
        let text = "a: 5\nb: '5'\nc: true\nd: ~\ne: [1.5, yes, .nan]\nf: {}\ng: |\n  1\n";
        let value = value_of(yaml::parse("f", text).unwrap().root());
        let expected = json!({"a": 5, "b": "5", "c": true, "d": null, "e": [1.5, "yes", ".nan"], "f": {}, "g": "1\n"});
        assert_eq!(value, expected);
    }
}
