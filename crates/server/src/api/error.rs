//! Every error that the API answers with: RFC 9457 problem documents.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gostream_store::{Error, Trouble};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{login::password, pulse};

/// RFC 9457 section 3.
pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

/// A database that restarts is back after some seconds, and so many callers come back together.
const AWAY_RETRY: Duration = Duration::from_secs(5);

/// A full line of passwords is half as long as before by then.
const BUSY_RETRY: Duration = Duration::from_secs(4);

/// An error as the caller reads it: a stable code for programs, a sentence for people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` says more.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    #[schema(example = "Unprocessable Content")]
    title: &'static str,
    /// The HTTP status.
    #[schema(value_type = u16, example = 422)]
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    /// What happened and what to do.
    #[schema(value_type = String, example = "Some fields need a look.")]
    detail: Cow<'static, str>,
    /// Stable, for programs.
    #[schema(example = "validation_failed")]
    code: &'static str,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    /// What is wrong with the database, if that is the reason.
    #[serde(skip)]
    trouble: Option<Trouble>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema, PartialEq, Eq)]
pub(super) struct FieldError {
    /// The field's name in the request.
    #[schema(example = "email")]
    pub field: String,
    /// A sentence.
    #[schema(example = "This is not an email address.")]
    pub message: String,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// An account has as much as it may have.
    pub(super) fn quota(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "quota_exceeded", detail)
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A problem with this status, code and sentence.
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

    /// 401: no login, or one that ended.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Log in first: the token is missing, expired or ended.")
    }

    /// 404: not there, or somebody else's; nobody can tell which.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here, or it is not yours.")
    }

    /// 422: the body is read, but some fields cannot be taken.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.message.clone().into(),
            _ => Cow::Borrowed("Some fields need a look."),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail) }
    }

    /// 422 because of one field.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// 422: a destination's key goes only to the servers that its owner gave it to.
    pub(super) fn stream_key_required() -> Self {
        let sentence = "This is another server. Enter the stream key again, so that it is only sent where you want it.";
        Self { code: "stream_key_required", ..Self::field("streamKey", sentence) }
    }

    /// 429: too many tries.
    pub(super) fn too_many(wait: Duration) -> Self {
        let seconds = retry_after_seconds(wait);
        let detail = format!("Too many tries. Try again in {seconds} seconds.");
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail) }
    }

    /// 503: as many of these as may be are waiting.
    pub(super) fn busy() -> Self {
        let seconds = BUSY_RETRY.as_secs();
        let detail =
            format!("The server is busy with too many requests like this one. Try again in {seconds} seconds.");
        Self { retry_after: Some(BUSY_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    /// 503: the database does not answer, or keeps no changes.
    pub(super) fn database_unavailable(trouble: Trouble) -> Self {
        Self {
            retry_after: Some(AWAY_RETRY),
            trouble: Some(trouble),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", pulse::sentence(trouble))
        }
    }

    /// 503: the handler was given up on.
    pub(super) fn timeout() -> Self {
        let detail = "The request took too long: the database may not be answering. Try again in a moment.";
        Self { retry_after: Some(AWAY_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail) }
    }

    /// 500: logged here with its cause, which the caller does not see.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let mut causes = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            causes = format!("{causes}: {cause}");
            source = cause.source();
        }
        tracing::error!(error = causes, "A request failed.");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something failed in the server. Its log says what.")
    }
}

/// The status in the words of RFC 9110, which renamed two that the library still calls by their old names.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        other => other.canonical_reason().unwrap_or("Error"),
    }
}

fn retry_after_seconds(wait: Duration) -> u64 {
    // Rounded up: a client that waits exactly as long must get through.
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
            Error::Quota => Self::quota("This account has as much as it may have.".to_owned()),
            Error::EmailTaken => {
                Self::new(StatusCode::CONFLICT, "email_taken", "There is an account with this email address already.")
            }
            Error::LoginsEnded => Self::unauthorized(),
            Error::BadCursor => Self::field("cursor", "Take the cursor from `nextCursor` of the page before."),
            error @ (Error::Connect(_) | Error::Read { .. } | Error::Write { .. }) => {
                tracing::error!(%error, "The database failed a request.");
                Self::database_unavailable(error.trouble().unwrap_or(Trouble::Away))
            }
            other => Self::internal(&other),
        }
    }
}
