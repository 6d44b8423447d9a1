//! What an answer that is no success means for the caller: by its code, and by its status where the code is unknown.
//! Never by its message.

use crate::cloud::Failure;

/// Whether the call may have been carried out although it was not answered as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeatable {
    /// Asking again does no harm.
    Yes,
    /// It may have made something.
    No,
}

/// What status and code mean.
pub(super) fn meaning(status: u16, code: &str, repeatable: Repeatable) -> Failure {
    let failing = match repeatable {
        Repeatable::Yes => Failure::Unavailable,
        Repeatable::No => Failure::Ambiguous,
    };
    match code {
        "unauthorized" | "token_readonly" | "forbidden" => Failure::Unauthorized,
        "resource_limit_exceeded" => Failure::Quota,
        "resource_unavailable" | "placement_error" => Failure::Capacity,
        "uniqueness_error" => Failure::NameTaken,
        "not_found" => Failure::NotFound,
        "locked" => Failure::Locked,
        "protected" => Failure::Protected,
        "rate_limit_exceeded" => Failure::TooManyCalls,
        "conflict" | "maintenance" => Failure::Unavailable,
        "invalid_input" | "unsupported_error" | "json_error" => Failure::Refused,
        _ => match status {
            401 | 403 => Failure::Unauthorized,
            404 => Failure::NotFound,
            408 | 500.. => failing,
            412 => Failure::Capacity,
            423 => Failure::Locked,
            429 => Failure::TooManyCalls,
            400..=499 => Failure::Refused,
            // A success that cannot be read, too.
            0..=399 => failing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_before_statuses_and_new_ones_are_read_by_their_status() {
        let post = |status, code| meaning(status, code, Repeatable::No);
        assert_eq!(post(412, "resource_unavailable"), Failure::Capacity);
        assert_eq!(post(422, "placement_error"), Failure::Capacity);
        assert_eq!(post(422, "json_error"), Failure::Refused);
        assert_eq!(post(412, "new_word"), Failure::Capacity);
        assert_eq!(post(403, "resource_limit_exceeded"), Failure::Quota);
        assert_eq!(post(403, "new_word"), Failure::Unauthorized);
        assert_eq!(post(403, "maintenance"), Failure::Unavailable);
        assert_eq!(post(409, "uniqueness_error"), Failure::NameTaken);
        assert_eq!(post(423, ""), Failure::Locked);
        assert_eq!(post(502, ""), Failure::Ambiguous);
        assert_eq!(post(500, "server_error"), Failure::Ambiguous);
        assert_eq!(post(201, ""), Failure::Ambiguous);
        assert_eq!(meaning(503, "unavailable", Repeatable::Yes), Failure::Unavailable);
        assert_eq!(meaning(404, "gone_word", Repeatable::Yes), Failure::NotFound);
        assert_eq!(meaning(418, "teapot", Repeatable::Yes), Failure::Refused);
    }
}
