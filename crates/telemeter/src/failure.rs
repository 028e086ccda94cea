//! The error that a program or a command ends with, and its text.

use std::error::Error;

/// Why a program did not start, or ended before it should; why a command could not be done.
pub type RunFailure = Box<dyn Error + Send + Sync>;

/// An error and what caused it, as one text: `cannot read key.pem: permission denied`. A cause whose text the error
/// contains already is not repeated.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = error.source();
    }
    text
}
