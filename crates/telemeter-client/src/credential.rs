//! Tokens and salts, as they are used: a file is read again each time.

use std::path::PathBuf;

use http::HeaderValue;
use telemeter_auth::Secret;
use telemeter_http::file::{self, FileError};

use crate::config::Credential;

/// Why a credential cannot be used. Names the file, never what it holds.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds nothing but white space.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// It holds what no header may: a line break, or a control character.
    #[error("the token holds a character that no header may hold")]
    Unfit,
}

/// The credential as it stands now, without white space around it.
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
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_hidden| CredentialError::Unfit)?;
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
        let unfit = bearer(&credential).expect_err("no header").to_string();
        assert!(!unfit.contains("two"), "{unfit}");
    }
}
