//! The OpenAPI document, as it is served: what the handlers promise, and what holds for all of them.

use rgrid_api::error::ErrorCode;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Server};

use crate::Config;

/// What any operation may be refused or fail with, but those that a monitor asks.
const ALWAYS: [ErrorCode; 8] = [
    ErrorCode::Malformed,
    ErrorCode::Invalid,
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::VersionRefused,
    ErrorCode::TooManyRequests,
    ErrorCode::DatabaseUnavailable,
    ErrorCode::Internal,
];
/// The query that names one.
const NAMED_BY: &str = "execution";
/// And one that names a thing in its path or its query.
const NAMING: [ErrorCode; 2] = [ErrorCode::NotFound, ErrorCode::Conflict];
/// And one that brings a body.
const BRINGING: [ErrorCode; 3] = [ErrorCode::Conflict, ErrorCode::TooLarge, ErrorCode::StoreFull];

/// Completes what the handlers say of themselves, and writes it down.
pub(super) fn written(mut document: OpenApi, config: &Config) -> Vec<u8> {
    document.info.version = config.version.clone();
    document.servers = config.public_url.as_deref().map(|url| vec![Server::new(url)]);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("rg_...").build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("key".to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    // axum spells a tail `{*path}`; OpenAPI has no word for it.
    document.paths.paths =
        document.paths.paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for item in document.paths.paths.values_mut() {
        for operation in
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
        {
            complete(operation);
        }
    }
    let mut document = serde_json::to_value(&document).expect("a document of texts and maps is JSON");
    name_unsigned(&mut document);
    document.to_string().into_bytes()
}

/// The derived schemas call an unsigned number a signed one that is not below 0, and so promise half of what is read.
fn name_unsigned(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let format = match (fields.get("format").and_then(Value::as_str), fields.get("minimum")) {
                (Some("int32"), Some(minimum)) if minimum.as_i64() >= Some(0) => {
                    ("uint32", u64::from(u32::MAX))
                }
                (Some("int64"), Some(minimum)) if minimum.as_i64() >= Some(0) => ("uint64", u64::MAX),
                (Some(_) | None, _) => return fields.values_mut().for_each(name_unsigned),
            };
            fields.insert("format".to_owned(), format.0.into());
            fields.entry("maximum").or_insert(format.1.into());
        }
        Value::Array(items) => items.iter_mut().for_each(name_unsigned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds what holds for every operation: how it is refused, and the key.
fn complete(operation: &mut Operation) {
    if operation.tags.iter().flatten().any(|tag| tag == "grid") {
        return;
    }
    if operation.security.is_none() {
        operation.security = Some(vec![SecurityRequirement::new("key", Vec::<String>::new())]);
    }
    let names = operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Path || parameter.name == NAMED_BY,
        RefOr::Ref(_) => false,
    });
    let mut codes = ALWAYS.to_vec();
    codes.extend(NAMING.iter().filter(|_| names));
    codes.extend(BRINGING.iter().filter(|_| operation.request_body.is_some()));
    for code in codes {
        let status = code.status().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| {
            let error = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
            let description = "refused or failed; the code in the body says why";
            RefOr::T(
                ResponseBuilder::new().description(description).content("application/json", error).build(),
            )
        });
    }
}
