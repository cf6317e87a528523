//! The errors of the API: RFC 9457 problem documents.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gostream_store::{Error, Trouble};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{database_health, login::password};

/// The media type, RFC 9457 section 3.
pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

/// `Retry-After` during an outage. A database that restarts is back within seconds. It also spreads the clients that
/// come back.
const AWAY_RETRY: Duration = Duration::from_secs(5);

/// `Retry-After` of a full password queue, which is half empty by then.
const BUSY_RETRY: Duration = Duration::from_secs(4);

/// An error response: a stable code for programs, a sentence for people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` says more.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The name of the HTTP status.
    #[schema(example = "Unprocessable Content")]
    title: &'static str,
    /// The HTTP status.
    #[schema(value_type = u16, example = 422)]
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    /// The problem and its remedy.
    #[schema(value_type = String, example = "Some fields need a look.")]
    detail: Cow<'static, str>,
    /// A stable code for programs.
    #[schema(example = "validation_failed")]
    code: &'static str,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    /// The problem of the database, if that is the cause.
    #[serde(skip)]
    trouble: Option<Trouble>,
}

/// An error in one field.
#[derive(Debug, Serialize, ToSchema, PartialEq, Eq)]
pub(super) struct FieldError {
    /// The field's name in the request.
    #[schema(example = "email")]
    pub field: String,
    /// The error as a sentence.
    #[schema(example = "This is not an email address.")]
    pub message: String,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// 403: a quota is used up.
    pub(super) fn quota(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "quota_exceeded", detail)
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A problem with this status, code and detail.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "about:blank",
            title: title(status),
            status,
            detail: detail.into(),
            code,
            errors: Vec::new(),
            retry_after: None,
            trouble: None,
        }
    }

    /// 401: no login, or a login that has ended.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Log in first: the token is missing, invalid or expired.")
    }

    /// 404: it does not exist or belongs to another user. The response does not tell which.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "This does not exist, or it is not yours.")
    }

    /// 422: some fields of the request are invalid.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.message.clone().into(),
            _ => Cow::Borrowed("Some fields need a look."),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail) }
    }

    /// 422: one field is invalid.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// 422: a destination's key is sent only to servers that its owner gave it for.
    pub(super) fn stream_key_required() -> Self {
        let sentence = "This is another server. Enter the stream key again, so that it is only sent where you want it.";
        Self { code: "stream_key_required", ..Self::field("streamKey", sentence) }
    }

    /// 429: too many attempts. `wait` is the time until the next one.
    pub(super) fn too_many(wait: Duration) -> Self {
        let seconds = retry_after_seconds(wait);
        let detail = format!("Too many attempts. Try again in {seconds} seconds.");
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail) }
    }

    /// 503: the queue of requests of this kind is full.
    pub(super) fn busy() -> Self {
        let seconds = BUSY_RETRY.as_secs();
        let detail =
            format!("The server is busy with too many requests like this one. Try again in {seconds} seconds.");
        Self { retry_after: Some(BUSY_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    /// 503: the database does not respond, or does not accept changes.
    pub(super) fn database_unavailable(trouble: Trouble) -> Self {
        Self {
            retry_after: Some(AWAY_RETRY),
            trouble: Some(trouble),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", database_health::sentence(trouble))
        }
    }

    /// 503: the handler took too long.
    pub(super) fn timeout() -> Self {
        let detail = "The request took too long: the database may not be answering. Try again in a moment.";
        Self { retry_after: Some(AWAY_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail) }
    }

    /// 500: the cause is logged and not shown to the client.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let mut causes = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            causes = format!("{causes}: {cause}");
            source = cause.source();
        }
        tracing::error!(error = causes, "A request failed.");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "An internal error occurred. The server's log has the cause.",
        )
    }
}

/// The status's name in RFC 9110, which renamed two that the library has under their old names.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        other => other.canonical_reason().unwrap_or("Error"),
    }
}

fn retry_after_seconds(wait: Duration) -> u64 {
    // Rounded up, so that a client that waits exactly this long succeeds.
    wait.as_millis().div_ceil(1_000).max(1) as u64
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, wait, trouble) = (self.status, self.retry_after, self.trouble);
        let mut response = (status, Json(self)).into_response();
        if let Some(trouble) = trouble {
            response.extensions_mut().insert(trouble);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(wait) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<password::Error> for Problem {
    fn from(error: password::Error) -> Self {
        match error {
            password::Error::Busy(_) => Self::busy(),
            other => Self::internal(&other),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::not_found(),
            Error::Quota => Self::quota("This account has used up its quota.".to_owned()),
            Error::EmailTaken => {
                Self::new(StatusCode::CONFLICT, "email_taken", "There is an account with this email address already.")
            }
            Error::LoginsEnded => Self::unauthorized(),
            Error::BadCursor => Self::field("cursor", "Use the cursor from `nextCursor` of the previous page."),
            error @ (Error::Connect(_) | Error::Read { .. } | Error::Write { .. }) => {
                tracing::error!(%error, "The database failed a request.");
                Self::database_unavailable(error.trouble().unwrap_or(Trouble::Away))
            }
            other => Self::internal(&other),
        }
    }
}
