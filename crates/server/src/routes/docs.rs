//! The API in a form that people read: one page made from the OpenAPI document, without scripts or foreign files.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::state::App;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
code,pre{font:14px ui-monospace,monospace;background:#f4f4f4;padding:.1em .3em}pre{padding:1em;overflow-x:auto}\
h2{margin-top:2.5rem}h3{margin:1.6rem 0 .2rem}.m{display:inline-block;min-width:4.5em;font-weight:700}\
table{border-collapse:collapse}td,th{border-bottom:1px solid #ddd;padding:.15em .8em .15em 0;text-align:left;\
vertical-align:top}a{color:#0550ae}\
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}code,pre{background:#262626}a{color:#79b8ff}\
td,th{border-color:#333}}";

/// `GET /openapi.json`
pub(crate) async fn openapi(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}

/// `GET /docs`
pub(crate) async fn page(State(app): State<App>) -> Response {
    let document: Value = serde_json::from_slice(&app.openapi).unwrap_or_default();
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    (headers, html(&document)).into_response()
}

fn html(document: &Value) -> String {
    let mut page = String::with_capacity(128 << 10);
    write_html(&mut page, document).expect("a string takes any text");
    page
}

fn write_html(page: &mut String, document: &Value) -> std::fmt::Result {
    let title = escaped(text(&document["info"]["title"]));
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title} {}</h1><p>{}</p>",
        escaped(text(&document["info"]["version"])),
        escaped(text(&document["info"]["description"])).replace("\n\n", "</p><p>"),
    )?;
    write!(page, "<p>The same for programs: <a href=\"/api/v1/openapi.json\">openapi.json</a>.</p>")?;
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(&tag["name"]);
        write!(page, "<h2 id=\"{0}\">{0}</h2><p>{1}</p>", escaped(name), escaped(text(&tag["description"])))?;
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"][0] == *name {
                    write_operation(page, method, path, operation)?;
                }
            }
        }
    }
    write!(page, "<h2>Bodies</h2>")?;
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        write_schema(page, name, schema)?;
    }
    write!(page, "</html>")
}

fn write_operation(page: &mut String, method: &str, path: &str, operation: &Value) -> std::fmt::Result {
    write!(
        page,
        "<h3><span class=\"m\">{}</span> <code>{}</code></h3><p>{} {}</p>",
        method.to_uppercase(),
        escaped(path),
        escaped(text(&operation["summary"])),
        escaped(text(&operation["description"])),
    )?;
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        write!(page, "<table>")?;
        for parameter in parameters {
            write!(
                page,
                "<tr><td><code>{}</code><td>{}<td>{}",
                escaped(text(&parameter["name"])),
                escaped(text(&parameter["in"])),
                escaped(text(&parameter["description"])),
            )?;
        }
        write!(page, "</table>")?;
    }
    let body = schema_name(&operation["requestBody"]["content"]["application/json"]["schema"]);
    let answer = schema_name(&operation["responses"]["200"]["content"]["application/json"]["schema"]);
    for (word, name) in [("Body", body), ("Answer", answer)] {
        if let Some(name) = name {
            write!(page, "<p>{word}: <a href=\"#{0}\">{0}</a></p>", escaped(name))?;
        }
    }
    Ok(())
}

fn write_schema(page: &mut String, name: &str, schema: &Value) -> std::fmt::Result {
    let name = escaped(name);
    write!(page, "<h3 id=\"{name}\">{name}</h3><p>{}</p>", escaped(text(&schema["description"])))?;
    let variants = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shapes = if variants.is_empty() { std::slice::from_ref(schema) } else { variants };
    for shape in shapes {
        if let Some(values) = shape["enum"].as_array() {
            let words: Vec<_> =
                values.iter().map(|value| format!("<code>{}</code>", escaped(text(value)))).collect();
            write!(page, "<p>{} {}</p>", words.join(", "), escaped(text(&shape["description"])))?;
        }
        let Some(properties) = shape["properties"].as_object() else { continue };
        write!(page, "<table>")?;
        for (field, property) in properties {
            write!(
                page,
                "<tr><td><code>{}</code><td>{}<td>{}",
                escaped(field),
                type_html(property),
                escaped(text(&property["description"])),
            )?;
        }
        write!(page, "</table>")?;
    }
    Ok(())
}

/// A property's type as a word, or as a link to the body it is.
fn type_html(property: &Value) -> String {
    if let Some(name) = schema_name(property) {
        return format!("<a href=\"#{0}\">{0}</a>", escaped(name));
    }
    if let Some(values) = property["enum"].as_array() {
        let words: Vec<_> = values.iter().map(|value| escaped(text(value))).collect();
        return words.join(" or ");
    }
    let alternatives = property["oneOf"].as_array().into_iter().flatten().find_map(schema_name);
    if let Some(name) = alternatives {
        return format!("<a href=\"#{0}\">{0}</a> or null", escaped(name));
    }
    match &property["type"] {
        Value::String(word) if word == "array" => format!("list of {}", type_html(&property["items"])),
        Value::String(word) => escaped(word),
        Value::Array(words) => words.iter().map(|word| escaped(text(word))).collect::<Vec<_>>().join(" or "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn schema_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
