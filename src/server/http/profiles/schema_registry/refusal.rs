//! What is refused, as the clients of this protocol know it: a number that they branch on, whose first three digits are the
//! status, and a sentence. One table leads from the broker's reasons to the numbers. Never decides whether something is
//! refused.

use http::{Response, StatusCode};
use serde_json::json;
use tonic::{Status, body::Body};
use tonic_types::StatusExt as _;

use super::answer;
use crate::{model::Reason, server::http::problem};

/// The body is not what is wanted.
pub const INVALID_BODY: u32 = 400;
/// No such subject.
pub const NO_SUBJECT: u32 = 40401;
/// The subject has no such version.
pub const NO_VERSION: u32 = 40402;
/// No such schema.
pub const NO_SCHEMA: u32 = 40403;
/// The subject was deleted before.
pub const SUBJECT_DELETED: u32 = 40404;
/// The subject was not deleted before it was to be deleted for good.
pub const SUBJECT_NOT_DELETED: u32 = 40405;
/// The version was deleted before.
pub const VERSION_DELETED: u32 = 40406;
/// The version was not deleted before it was to be deleted for good.
pub const VERSION_NOT_DELETED: u32 = 40407;
/// The subject has no compatibility of its own.
pub const NO_CONFIG: u32 = 40408;
/// The subject has no mode of its own.
pub const NO_MODE: u32 = 40409;
/// The subject's compatibility does not allow the schema.
pub const INCOMPATIBLE: u32 = 409;
/// The schema makes no sense.
pub const INVALID_SCHEMA: u32 = 42201;
/// No version has such a name.
pub const INVALID_VERSION: u32 = 42202;
/// No such compatibility.
pub const INVALID_LEVEL: u32 = 42203;
/// No such mode.
pub const INVALID_MODE: u32 = 42204;
/// The mode does not allow it.
pub const NOT_PERMITTED: u32 = 42205;
/// Another schema refers to it.
pub const REFERENCED: u32 = 42206;
/// No subject may have such a name.
pub const INVALID_SUBJECT: u32 = 42208;
/// What is stored could not be reached, or is at fault.
pub const STORE_FAILED: u32 = 50001;
/// It took too long.
pub const TIMED_OUT: u32 = 50002;
/// This broker stops, and hands on nothing.
pub const NOT_FORWARDED: u32 = 50003;

/// A refusal.
#[derive(Debug)]
pub struct Refusal {
    /// What clients branch on.
    pub number: u32,
    message: String,
}

/// The table. `about` is what is missing, or the field at fault.
fn number(reason: Reason, about: &str) -> u32 {
    match (reason, about) {
        (Reason::SchemaNotFound, "subject") => NO_SUBJECT,
        (Reason::SchemaNotFound, "version") => NO_VERSION,
        (Reason::SchemaNotFound, _) => NO_SCHEMA,
        (Reason::SchemaNotDeleted, _) => SUBJECT_NOT_DELETED,
        (Reason::SchemaIncompatible, _) => INCOMPATIBLE,
        (Reason::SchemaInvalid, "subject") => INVALID_SUBJECT,
        (Reason::SchemaInvalid, _) => INVALID_SCHEMA,
        (Reason::SchemaReadOnly, _) => NOT_PERMITTED,
        (Reason::SchemaReferenced, _) => REFERENCED,
        (Reason::Draining, _) => NOT_FORWARDED,
        (reason, _) => coarse(problem::http_status(reason)),
    }
}

/// Where only the status is known.
fn coarse(status: StatusCode) -> u32 {
    match status.as_u16() {
        504 => TIMED_OUT,
        500.. => STORE_FAILED,
        status => status.into(),
    }
}

impl Refusal {
    /// Of a number.
    pub fn new(number: u32, message: impl Into<String>) -> Self {
        Refusal { number, message: message.into() }
    }

    /// Of a status that says it all.
    pub fn of(status: StatusCode) -> Self {
        Refusal::new(coarse(status), format!("HTTP {status}"))
    }

    /// The same under another number, for whoever knows more.
    pub fn renumbered(self, number: u32) -> Self {
        Refusal { number, ..self }
    }

    /// As it is told.
    pub fn answer(&self) -> Response<Body> {
        let Refusal { number, message } = self;
        let digits = if *number < 1000 { *number } else { *number / 100 };
        let status = u16::try_from(digits).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(number, error = message, "schema-registry: a call failed");
        }
        answer(status, json!({ "error_code": number, "message": message }).to_string())
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.and_then(|info| Reason::ALL.iter().find(|known| known.as_str() == info.reason));
        let missing = info.and_then(|info| info.metadata.get("missing"));
        let violations = details.bad_request().map(|request| request.field_violations.as_slice());
        let field = violations.and_then(|fields| fields.first()).map(|violation| &violation.field);
        let about = missing.or(field).map_or("", String::as_str);
        let number = match reason {
            Some(reason) => number(*reason, about),
            None => coarse(problem::describe(&status).0),
        };
        Refusal::new(number, status.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Error;

    #[test]
    fn the_table() {
        let missing = |what| Error::new(Reason::SchemaNotFound, "x").with("missing", what);
        let of = |reason| Error::new(reason, "x");
        for (error, number, status) in [
            (missing("subject"), 40401, 404),
            (missing("version"), 40402, 404),
            (missing("schema"), 40403, 404),
            (of(Reason::SchemaNotDeleted), 40405, 404),
            (of(Reason::SchemaIncompatible), 409, 409),
            (of(Reason::SchemaInvalid).field("schema.text"), 42201, 422),
            (of(Reason::SchemaInvalid).field("subject"), 42208, 422),
            (of(Reason::SchemaReadOnly), 42205, 422),
            (of(Reason::SchemaReferenced), 42206, 422),
            (of(Reason::MessageTooLarge), 413, 413),
            (of(Reason::QuotaExceeded), 429, 429),
            (of(Reason::EngineUnreachable), 50001, 500),
            (of(Reason::StorageFull), 50001, 500),
            (of(Reason::Internal), 50001, 500),
            (of(Reason::NoReply), 50002, 500),
            (of(Reason::Draining), 50003, 500),
        ] {
            let refusal = Refusal::from(Status::from(error));
            assert_eq!((refusal.number, refusal.answer().status().as_u16()), (number, status));
        }
        assert_eq!(Refusal::from(Status::deadline_exceeded("x")).number, TIMED_OUT);
        assert_eq!(Refusal::of(StatusCode::NOT_FOUND).message, "HTTP 404 Not Found");
    }
}
