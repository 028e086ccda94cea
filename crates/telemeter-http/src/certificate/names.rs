//! Parses the subject and the issuer of a certificate, for messages only: the TLS library decides which certificates
//! are trusted.
//!
//! The library exposes neither name. This module parses these two fields of a certificate and nothing else; a library
//! for all of X.509 would be the largest part of a build for one line of text.
//!
//! Source: RFC 5280, 4.1; X.690, 8.1.

use std::fmt::Write as _;

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, ServerName};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The tag `[0]` of the version field.
const VERSION: u8 = 0xa0;

/// The attributes of a name that are shown: their identifiers below 2.5.4, and their short names.
const ATTRIBUTES: [(u8, &str); 3] = [(3, "CN"), (10, "O"), (11, "OU")];
/// The cap on the characters of a name that are shown.
const MAX_SHOWN_CHARS: usize = 120;

/// The subject and the issuer of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The subject, as `CN=store.example, O=Example`; empty where the name has none of the shown attributes.
    pub(crate) subject: String,
    /// The issuer, in the same form.
    pub(crate) issuer: String,
    /// Whether both names are the same, so that the certificate is self-signed.
    pub(crate) is_by_itself: bool,
}

impl Signature {
    /// Parses a certificate in DER; `None` where it is not one.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let certificate = DerReader(der).content(SEQUENCE)?;
        let mut fields = DerReader(DerReader(certificate).content(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next(VERSION)?;
        }
        fields.next(INTEGER)?;
        fields.next(SEQUENCE)?;
        let issuer = fields.next(SEQUENCE)?;
        // This field is the validity.
        fields.next(SEQUENCE)?;
        let subject = fields.next(SEQUENCE)?;
        Some(Self { subject: printable(subject)?, issuer: printable(issuer)?, is_by_itself: subject == issuer })
    }
}

/// The host names and addresses that a certificate is for; empty where it has none or cannot be parsed.
pub(crate) fn subject_alt_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let presented = || {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        // The library lists the names in its error for a name that does not match; no certificate has this name.
        match verify_server_name(&parsed, &ServerName::try_from("name.invalid").ok()?).err()? {
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => Some(presented),
            _ => None,
        }
    };
    bare_names(&presented().unwrap_or_default())
}

/// Extracts the names of a certificate from the library's text, such as `DnsName("a")` and `IpAddress(1.2.3.4)`.
pub(crate) fn bare_names(presented: &[String]) -> Vec<String> {
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    let known = presented.iter().filter(|name| name.starts_with("DnsName") || name.starts_with("IpAddress"));
    known.map(bare).collect()
}

/// The part of a DER value that is not parsed yet.
struct DerReader<'d>(&'d [u8]);

impl<'d> DerReader<'d> {
    /// The content of the next element; `None` where its tag is not `tag`.
    fn next(&mut self, tag: u8) -> Option<&'d [u8]> {
        let (found, content) = self.next_element()?;
        (found == tag).then_some(content)
    }

    /// The same, where nothing after the element is needed.
    fn content(mut self, tag: u8) -> Option<&'d [u8]> {
        self.next(tag)
    }

    /// Reads the next element: its tag and its content. Returns `None` at the end, for a truncated element, and for a
    /// length that is indefinite or has more than three bytes.
    fn next_element(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // The low bits are the number of bytes of the length.
            0x81..=0x83 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }
}

/// A name on one line, without control characters and cut to [`MAX_SHOWN_CHARS`]. Attributes other than [`ATTRIBUTES`]
/// are left out. `None` where the name is malformed.
fn printable(name: &[u8]) -> Option<String> {
    let (mut name, mut text) = (DerReader(name), String::new());
    while !name.0.is_empty() {
        let mut set = DerReader(name.next(SET)?);
        while !set.0.is_empty() {
            let mut pair = DerReader(set.next(SEQUENCE)?);
            let identifier = pair.next(OBJECT_IDENTIFIER)?;
            let (_, value) = pair.next_element()?;
            let [0x55, 4, attribute] = identifier else { continue };
            let Some((_, called)) = ATTRIBUTES.iter().find(|(known, _)| known == attribute) else { continue };
            let value = String::from_utf8_lossy(value);
            let _ = write!(text, "{}{called}={value}", if text.is_empty() { "" } else { ", " });
        }
    }
    Some(text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(name: &str, organisation: Option<&str>) -> (rcgen::CertificateParams, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organisation) = organisation {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, organisation);
        }
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params, rcgen::KeyPair::generate().unwrap())
    }

    #[test]
    fn both_names_are_read() {
        let (mut authority, authority_key) = certificate("Test CA", Some("Example Größe"));
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (leaf, leaf_key) = certificate("store.example\u{1b}[31m", None);
        let issuer = rcgen::Issuer::new(authority.clone(), &authority_key);
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let read = Signature::of(leaf.der()).unwrap();
        assert_eq!((read.subject.as_str(), read.is_by_itself), ("CN=store.example[31m", false));
        assert_eq!(read.issuer, "O=Example Größe, CN=Test CA");
        assert_eq!(subject_alt_names(leaf.der()), ["localhost", "127.0.0.1"]);
        let own = Signature::of(authority.self_signed(&authority_key).unwrap().der()).unwrap();
        assert!(own.is_by_itself);
    }

    proptest! {
        /// Parses any bytes that a server may send.
        #[test]
        fn no_bytes_are_too_odd(at in 0..400usize, byte: u8, cut in 0..400usize) {
            let (params, key) = certificate("store.example", Some("Example"));
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            let end = der.len().min(cut.max(1));
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = Signature::of(&der);
            let _ = Signature::of(&der[..end]);
        }
    }
}
