//! The JSON Schema of the report, as `pcapdiff schema` prints it.

/// JSON Schema, draft 2020-12.
pub(crate) const TEXT: &str = include_str!("report.schema.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{self, Format, View, sample};
    use analyzer_core::evidence::Trace;
    use serde_json::Value;

    /// What is wrong with `value`. A validator of the few keywords that the schema uses; it refuses others, so that
    /// nothing in the schema goes unchecked. Stricter than a real one in that it knows no field that is not listed
    /// where fields are required: every field of the report has to be in the schema.
    fn errors(root: &Value, schema: &Value, value: &Value, path: &str, out: &mut Vec<String>) {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, rule) in schema {
            let broken = match keyword.as_str() {
                "const" => value != rule,
                "enum" => !rule.as_array().expect("a list").contains(value),
                "type" => !has_type(value, rule),
                "minimum" => value.is_number() && value.as_f64() < rule.as_f64(),
                "maximum" => value.is_number() && value.as_f64() > rule.as_f64(),
                // The only pattern is that of a time, which has one length and one shape.
                "pattern" => value.as_str().is_none_or(|text| !is_time(text)),
                "$schema" | "$id" | "$defs" | "title" | "description" | "required" | "properties" | "$ref"
                | "anyOf" | "items" => false,
                unknown => panic!("the validator of this test does not know {unknown}"),
            };
            if broken {
                out.push(format!("{path}: {value} breaks {keyword} {rule}"));
            }
        }
        if let Some(name) = schema.get("$ref") {
            let pointer = name.as_str().expect("a string").trim_start_matches('#');
            errors(root, root.pointer(pointer).expect("a definition"), value, path, out);
        }
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            let fits = options.iter().any(|option| {
                let mut wrong = Vec::new();
                errors(root, option, value, path, &mut wrong);
                wrong.is_empty()
            });
            if !fits {
                out.push(format!("{path}: fits no alternative"));
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (i, value) in values.iter().enumerate() {
                errors(root, items, value, &format!("{path}[{i}]"), out);
            }
        }
        let Some(fields) = value.as_object() else { return };
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                out.push(format!("{path}: {name} is missing"));
            }
        }
        let Some(properties) = schema.get("properties") else { return };
        for (name, value) in fields {
            match properties.get(name) {
                Some(property) => errors(root, property, value, &format!("{path}.{name}"), out),
                None if required.is_some() => out.push(format!("{path}: {name} is not in the schema")),
                None => {}
            }
        }
    }

    fn has_type(value: &Value, rule: &Value) -> bool {
        let fits = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("the validator of this test does not know the type {other}"),
        };
        match rule {
            Value::String(name) => fits(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(fits),
            _ => false,
        }
    }

    fn is_time(text: &str) -> bool {
        let shape = "0000-00-00T00:00:00.000000000Z";
        let fits = |(c, model): (char, char)| if model == '0' { c.is_ascii_digit() } else { c == model };
        text.len() == shape.len() && text.chars().zip(shape.chars()).all(fits)
    }

    fn check(value: &Value) -> Vec<String> {
        let schema: Value = serde_json::from_str(TEXT).unwrap();
        let mut out = Vec::new();
        errors(&schema, &schema, value, "report", &mut out);
        out
    }

    fn json(report: &analyzer_core::report::Report) -> Value {
        let view = View { width: 80, verbose: false, quiet: false, hidden: 0 };
        serde_json::from_slice(
            &render::render(Format::Json, report, render::Material::of(&Trace::default()), view).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn reports_obey_the_schema() {
        assert_eq!(check(&json(&sample::resets())), Vec::<String>::new());
        assert_eq!(check(&json(&sample::healthy())), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_obey_it_is_noticed() {
        let mut value = json(&sample::resets());
        value["findings"][0]["where"] = "nowhere".into();
        value["findings"][0]["first"] = "yesterday".into();
        value["totals"]["matched"] = (-1).into();
        value["surplus"] = 1.into();
        value.as_object_mut().unwrap().remove("clock");
        assert_eq!(check(&value).len(), 5);
    }
}
