//! Reads tokens and salts: a file is read each time.

use std::path::PathBuf;

use http::HeaderValue;
use telemeter_auth::Secret;
use telemeter_http::file::{self, FileError};

use crate::config::Credential;

/// Why a credential cannot be used. The text names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is empty, or has only white space.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// The token has a character that is not allowed in a header: a line break or another control character.
    #[error("the token holds a character that no header may hold")]
    NotAHeaderValue,
}

/// The text of the credential, without white space around the content of a file.
pub fn read(credential: &Credential) -> Result<Secret, CredentialError> {
    let path = match credential {
        Credential::Value(secret) => return Ok(secret.clone()),
        Credential::File(path) => path,
    };
    let content = file::read_text(path, file::SMALL)?;
    match content.trim() {
        "" => Err(CredentialError::Empty(path.clone())),
        text => Ok(Secret::from(text)),
    }
}

/// The value of an `Authorization` header that bears the credential.
pub fn bearer(credential: &Credential) -> Result<HeaderValue, CredentialError> {
    bearer_of(read(credential)?.expose())
}

/// The value of an `Authorization` header that bears `token`.
pub fn bearer_of(token: &str) -> Result<HeaderValue, CredentialError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_hidden| CredentialError::NotAHeaderValue)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_no_file_is_refused_and_not_waited_for() {
        let unreadable = |path: &str| bearer(&Credential::File(path.into())).expect_err("no file").to_string();
        assert_eq!(unreadable("/dev/zero"), "/dev/zero cannot be read: it is a device, not a file");
        assert_eq!(unreadable("/tmp"), "/tmp cannot be read: it is a directory, not a file");
    }

    #[test]
    fn a_file_is_read_each_time_and_trimmed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let credential = Credential::File(file.clone());
        let unreadable = bearer(&credential).expect_err("no file").to_string();
        assert!(unreadable.starts_with(&format!("{} cannot be read: ", file.display())), "{unreadable}");
        for (content, expected) in
            [("first\n", "Bearer first"), ("  second \r\n", "Bearer second"), ("\u{feff}third\n", "Bearer third")]
        {
            std::fs::write(&file, content).expect("written");
            assert_eq!(bearer(&credential).expect("a token"), expected);
        }
        std::fs::write(&file, " \n").expect("written");
        assert_eq!(bearer(&credential).expect_err("empty").to_string(), format!("{} is empty", file.display()));
        std::fs::write(&file, "two\nlines").expect("written");
        let refused = bearer(&credential).expect_err("no header").to_string();
        assert!(!refused.contains("two"), "{refused}");
    }
}
