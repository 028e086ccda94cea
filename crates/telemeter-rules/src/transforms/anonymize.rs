//! The step that hashes label values: `--anonymize-labels` with `--anonymize-salt`.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use telemeter_wire::{
    Arena, SeriesMut,
    exposition::{NameKind, is_known_name},
};

use crate::{
    escaped_name::{underscored, with_originals},
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// How many bytes of the hash are used: 12 characters of base64.
const HASH_BYTES: usize = 9;

/// Replaces the values of some labels by a salted hash: base64url, without padding, of the first nine bytes of
/// SHA-256(salt ‖ value). Empty values stay empty. Without the salt, a value cannot be found by hashing guesses.
#[derive(Clone)]
pub struct Anonymize {
    names: Vec<String>,
    /// The state of SHA-256 after the salt.
    salted: Context,
}

impl Anonymize {
    /// A step from the names of the labels whose values are hashed, and the salt.
    ///
    /// A name with other characters than letters, digits, `_` and `:` also covers its escaped form: a Prometheus that was
    /// not asked for UTF-8 names writes `http_status` for `http.status`. And a name with underscores also covers every name
    /// of which it is the escaped form, because the operator may have seen only that form; so does a name that is escaped by
    /// its values, `U__http_2e_status`.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, salt: &[u8]) -> Self {
        let mut salted = Context::new(&SHA256);
        salted.update(salt);
        let mut all = Vec::new();
        for name in with_originals(names, NameKind::Label) {
            let escaped = underscored(&name);
            if escaped != name && !all.contains(&escaped) {
                all.push(escaped);
            }
            if !all.contains(&name) {
                all.push(name);
            }
        }
        Self { names: all, salted }
    }

    /// Whether the values of the label `name` are hashed.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let is_named = |name: &str| self.names.iter().any(|other| other == name);
        is_named(name) || !is_known_name(name, NameKind::Metric) && is_named(&underscored(name))
    }

    /// The hash that replaces `value`: 12 characters of base64url.
    #[must_use]
    pub fn hash(&self, value: &str) -> String {
        let mut context = self.salted.clone();
        context.update(value.as_bytes());
        URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..HASH_BYTES])
    }
}

impl std::fmt::Debug for Anonymize {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Anonymize").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Transform for Anonymize {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        for index in 0..if self.names.is_empty() { 0 } else { series.labels().len() } {
            let label = series.labels()[index];
            if !label.value.is_empty() && self.covers(label.name) {
                series.labels_mut()[index].value = arena.text().alloc_str(&self.hash(label.value));
            }
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::through;

    #[test]
    fn values_are_hashed_as_by_the_go_client() {
        let step = Anonymize::new(["instance".to_owned()], b"a-unique-value");
        let body = "up{instance=\"10.0.150.196:9099\",job=\"10.0.150.196:9099\"} 1\nup{instance=\"\"} 2";
        // printf '%s' 'a-unique-value10.0.150.196:9099' | openssl dgst -sha256 -binary | head -c 9 | base64
        let expected = "up{instance=\"jq3qAnaIF1ce\",job=\"10.0.150.196:9099\"} 1\nup{instance=\"\"} 2\n";
        assert_eq!(through(body, &[&step]).expect("kept").0, expected);
        assert!(!format!("{step:?}").contains("unique"));
    }

    #[test]
    fn a_utf8_name_is_hashed_under_its_escaped_form_too() {
        let step = Anonymize::new(["http.status".to_owned(), "pod".to_owned(), "http_status".to_owned()], b"salt");
        let body = "up{\"http.status\"=\"x\",pod=\"x\",httpzstatus=\"x\"} 1\nup{http_status=\"x\"} 2";
        let (text, _) = through(body, &[&step]).expect("kept");
        assert_eq!(text.matches("\"x\"").count(), 1, "{text}");
        assert_eq!(text.matches(&step.hash("x")).count(), 3, "{text}");
    }

    #[test]
    fn an_escaped_name_stands_for_the_utf8_names_that_it_is_the_form_of() {
        let step = Anonymize::new(["k8s_pod_name".to_owned()], b"salt");
        let body = "up{\"k8s.pod.name\"=\"x\",\"k8s.pod_name\"=\"x\",k8s_pod_name=\"x\",\"k8s.pod.names\"=\"x\"} 1";
        let (text, _) = through(body, &[&step]).expect("kept");
        assert_eq!((text.matches("\"x\"").count(), text.matches(&step.hash("x")).count()), (1, 3), "{text}");
    }

    #[test]
    fn a_name_escaped_by_its_values_stands_for_the_utf8_name() {
        let step = Anonymize::new(["U__k8s_2e_pod".to_owned()], b"salt");
        for name in ["k8s.pod", "U__k8s_2e_pod", "k8s_pod"] {
            assert!(step.covers(name), "{name}");
        }
        assert!(!step.covers("k8s.pods"));
    }
}
