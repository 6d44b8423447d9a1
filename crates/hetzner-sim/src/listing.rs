//! What every list has: filters by name and labels, an order, pages.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::errors::ApiError;
use crate::labels::Selector;

/// Items on a page when nothing is said.
const PER_PAGE: usize = 25;
/// Items on a page at most; more is cut to this in silence.
const PER_PAGE_MAX: usize = 50;

/// How a list of servers is told other than it is, by a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Distortion {
    /// Each page but the first begins with the last item of the one before; the first ends with its first.
    pub(crate) repeats: bool,
    /// Nothing is there.
    pub(crate) empty: bool,
}

/// Filters, sorts and cuts `rows`, which are as they will be shown; `key` names them in the body.
pub(crate) fn list(
    call: &Call,
    key: &str,
    mut rows: Vec<Value>,
    sortable: &[&str],
    distortion: Distortion,
) -> Result<Answer, ApiError> {
    if let Some(name) = call.query("name") {
        rows.retain(|row| row["name"] == name);
    }
    if let Some(selector) = call.query("label_selector") {
        let selector = Selector::parse(selector)?;
        rows.retain(|row| selector.selects(|key| row["labels"][key].as_str().map(str::to_owned)));
    }
    if distortion.empty {
        rows.clear();
    }
    sort(call, &mut rows, sortable)?;
    page(call, key, rows, distortion.repeats)
}

fn sort(call: &Call, rows: &mut [Value], sortable: &[&str]) -> Result<(), ApiError> {
    let mut orders = Vec::new();
    for order in call.queries("sort") {
        let (field, down) = match order.split_once(':') {
            None => (order, false),
            Some((field, "asc")) => (field, false),
            Some((field, "desc")) => (field, true),
            Some(_) => return Err(ApiError::field("sort", "unknown direction")),
        };
        if !sortable.contains(&field) {
            return Err(ApiError::field("sort", "unknown field"));
        }
        orders.push((field, down));
    }
    rows.sort_by(|a, b| {
        let by = |(field, down): &(&str, bool)| {
            let order = compare(&a[*field], &b[*field]);
            if *down { order.reverse() } else { order }
        };
        orders.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    Ok(())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        (None, _) | (_, None) => a.as_str().unwrap_or_default().cmp(b.as_str().unwrap_or_default()),
    }
}

fn number(call: &Call, name: &str, otherwise: usize) -> Result<usize, ApiError> {
    let Some(text) = call.query(name) else { return Ok(otherwise) };
    match text.parse() {
        Ok(0) | Err(_) => Err(ApiError::field(name, "must be a positive integer")),
        Ok(number) => Ok(number),
    }
}

fn page(call: &Call, key: &str, rows: Vec<Value>, repeats: bool) -> Result<Answer, ApiError> {
    let page = number(call, "page", 1)?;
    let per_page = number(call, "per_page", PER_PAGE)?.min(PER_PAGE_MAX);
    let total = rows.len();
    let last = total.div_ceil(per_page).max(1);
    let from = page.saturating_sub(1).saturating_mul(per_page);
    let mut shown: Vec<Value> = rows.iter().skip(from).take(per_page).cloned().collect();
    if repeats && from > 0 {
        shown.splice(0..0, rows.get(from - 1).cloned());
    } else if repeats {
        shown.extend(shown.first().cloned());
    }
    let (previous, next) = ((page > 1).then(|| page - 1), (page < last).then(|| page + 1));
    let pagination = json!({
        "page": page, "per_page": per_page, "previous_page": previous, "next_page": next,
        "last_page": last, "total_entries": total,
    });
    let mut links = Vec::new();
    for (rel, to) in [("prev", previous), ("next", next), ("last", Some(last))] {
        if let Some(to) = to {
            links.push(format!("<{}>; rel={rel}", address(call, to, per_page)));
        }
    }
    let mut answer = Answer::ok(json!({key: shown, "meta": {"pagination": pagination}}));
    answer.headers.push(("link", links.join(", ")));
    Ok(answer)
}

/// The address of another page of the same list.
fn address(call: &Call, page: usize, per_page: usize) -> String {
    let mut address = format!("{}/v1{}?", call.base, call.path);
    for (key, value) in call.query.iter().filter(|(key, _)| key != "page" && key != "per_page") {
        address.push_str(&format!("{}={}&", encoded(key), encoded(value)));
    }
    address.push_str(&format!("page={page}&per_page={per_page}"));
    address
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(query: &[(&str, &str)], count: i64, repeats: bool) -> Result<Answer, ApiError> {
        let rows = (1..=count)
            .map(|id| json!({"id": id, "name": format!("s{}", id % 3), "labels": {"odd": if id % 2 == 1 {"yes"} else {"no"}}}))
            .collect();
        let call = Call {
            path: "/servers".to_owned(),
            base: "http://h".to_owned(),
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Call::default()
        };
        list(&call, "servers", rows, &["id", "name"], Distortion { repeats, empty: false })
    }

    fn ids(query: &[(&str, &str)], count: i64) -> Vec<i64> {
        let body = listed(query, count, false).unwrap().body.unwrap();
        body["servers"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    }

    #[test]
    fn a_page_is_cut_to_fifty_and_one_past_the_end_is_empty() {
        assert_eq!(ids(&[], 60).len(), 25);
        assert_eq!(ids(&[("per_page", "500")], 60).len(), 50);
        assert_eq!(ids(&[("page", "2"), ("per_page", "50")], 60), (51..=60).collect::<Vec<_>>());
        assert_eq!(ids(&[("page", "9")], 60), Vec::<i64>::new());
        let answer = listed(&[("page", "2"), ("label_selector", "odd in (yes,no)")], 60, false).unwrap();
        assert_eq!(
            answer.body.unwrap()["meta"]["pagination"],
            json!({"page": 2, "per_page": 25, "previous_page": 1, "next_page": 3, "last_page": 3, "total_entries": 60})
        );
        assert_eq!(
            answer.headers[0].1.split(", ").nth(1),
            Some(
                "<http://h/v1/servers?label_selector=odd%20in%20%28yes%2Cno%29&page=3&per_page=25>; rel=next"
            )
        );
        let alone = listed(&[], 3, false).unwrap().body.unwrap();
        assert_eq!(
            alone["meta"]["pagination"],
            json!({"page": 1, "per_page": 25, "previous_page": null, "next_page": null, "last_page": 1, "total_entries": 3})
        );
    }

    #[test]
    fn a_list_is_filtered_and_sorted() {
        assert_eq!(ids(&[("name", "s1")], 7), [1, 4, 7]);
        assert_eq!(ids(&[("label_selector", "odd=no"), ("sort", "id:desc")], 7), [6, 4, 2]);
        assert_eq!(ids(&[("sort", "name:desc"), ("sort", "id")], 5), [2, 5, 1, 4, 3]);
        for bad in
            [("sort", "age"), ("sort", "id:up"), ("page", "0"), ("per_page", "x"), ("label_selector", "(")]
        {
            assert_eq!(listed(&[bad], 3, false).unwrap_err().status, 422, "{bad:?}");
        }
    }

    #[test]
    fn a_distorted_list_shows_a_server_on_two_pages() {
        let second = listed(&[("page", "2")], 30, true).unwrap().body.unwrap();
        assert_eq!(second["servers"][0]["id"], 25);
    }
}
