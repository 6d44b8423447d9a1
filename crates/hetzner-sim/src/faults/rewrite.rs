//! Changes to an answer's JSON, at places that a pointer names: `*` is any one part, `**` any number of parts.

use serde_json::Value;

/// Removes every field that the pointer names.
pub(crate) fn remove(body: &mut Value, pointer: &str) {
    walk(body, &parts(pointer), &mut |parent, key| {
        if let Value::Object(fields) = parent {
            fields.remove(key);
        }
    });
}

/// Puts a value at every place that the pointer names; a last part that is not there yet is added.
pub(crate) fn set(body: &mut Value, pointer: &str, value: &Value) {
    walk(body, &parts(pointer), &mut |parent, key| match parent {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value.clone());
        }
        Value::Array(list) => {
            if let Some(place) = key.parse::<usize>().ok().and_then(|n| list.get_mut(n)) {
                *place = value.clone();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    });
}

fn parts(pointer: &str) -> Vec<&str> {
    pointer.split('/').filter(|part| !part.is_empty()).collect()
}

/// Calls `change` with each parent that the pointer leads to and the key in it.
fn walk(at: &mut Value, parts: &[&str], change: &mut impl FnMut(&mut Value, &str)) {
    match parts {
        [] => {}
        ["**", rest @ ..] => {
            walk(at, rest, change);
            for_each(at, &mut |child| walk(child, parts, change));
        }
        ["*"] => {
            for key in keys(at) {
                change(at, &key);
            }
        }
        [key] => change(at, key),
        ["*", rest @ ..] => for_each(at, &mut |child| walk(child, rest, change)),
        [key, rest @ ..] => {
            let child = match at {
                Value::Array(list) => key.parse::<usize>().ok().and_then(|n| list.get_mut(n)),
                Value::Object(fields) => fields.get_mut(*key),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            if let Some(child) = child {
                walk(child, rest, change);
            }
        }
    }
}

fn keys(of: &Value) -> Vec<String> {
    match of {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(list) => (0..list.len()).map(|n| n.to_string()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn for_each(of: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match of {
        Value::Object(fields) => fields.values_mut().for_each(visit),
        Value::Array(list) => list.iter_mut().for_each(visit),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_reaches_what_it_names() {
        let whole =
            json!({"servers": [{"status": "off", "image": {"id": 1}}, {"status": "off", "image": null}]});
        let mut body = whole.clone();
        set(&mut body, "/servers/*/status", &json!("hibernating"));
        set(&mut body, "/servers/1/extra", &json!(1));
        assert_eq!(
            body,
            json!({"servers": [{"status": "hibernating", "image": {"id": 1}}, {"status": "hibernating", "image": null, "extra": 1}]})
        );
        let mut body = whole.clone();
        remove(&mut body, "/**/id");
        assert_eq!(
            body,
            json!({"servers": [{"status": "off", "image": {}}, {"status": "off", "image": null}]})
        );
        let mut body = whole;
        remove(&mut body, "/servers/0/*");
        assert_eq!(body["servers"][0], json!({}));
    }
}
