//! Secrets are never shown; warnings about values that are used in another way than one may expect.

use super::*;

#[test]
fn no_secret_is_shown() {
    let flags = server_flags(SERVER, &["--oidc-issuer=https://i", "--client-secret=hunter2"]);
    assert!(!format!("{flags:?}").contains("hunter2"));
    assert!(!flags.config().unwrap_err().to_string().contains("hunter2"));
    let flags = client_flags(CLIENT, &["--to-token=hunter2", "--from-token=hunter2", "--anonymize-salt=hunter2"]);
    assert!(!format!("{flags:?}").contains("hunter2"));
    let error = ProgramFlags::parse(Some(Program::Client), argv(CLIENT, &["--to-tokn=hunter2"])).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn warnings() {
    assert!(server_flags(SERVER, &["--tenant-key=cluster_id"]).warnings().is_empty());
    for (typed, hint) in [("--tenant-key=authorization_token", "is a secret"), ("--tenant-key=tenant", "no field")] {
        let flags = server_flags(SERVER, &[typed]);
        assert!(flags.warnings()[0].contains(hint), "{:?}", flags.warnings());
        assert!(!flags.config().unwrap().log_tenant);
    }
    assert!(server_flags(SERVER, &["--client-secret=a b"]).warnings().is_empty());
    assert!(
        server_flags(SERVER, &["--client-secret=hunter2\n"]).warnings()[0].starts_with("--client-secret has white")
    );
    let both = ["--from-token=a", "--from-token-file=f", "--to-token-file=f"];
    assert_eq!(client_flags(CLIENT, &both).warnings().len(), 2);
    assert_eq!(secret(&client(&both).to.token), "t", "the value goes before the file");
    for (labels, hint) in [
        ("instance,pod,clusterID", None),
        ("Instance", Some("Instance is not instance")),
        ("Instance,instance", None),
        ("a,NAMESPACE", Some("NAMESPACE is not namespace")),
        ("_id", Some("sent in clear")),
        ("le", Some("histogram")),
        ("__address__", Some("no series has __address__")),
    ] {
        let warnings =
            client_flags(CLIENT, &["--anonymize-salt=s", &format!("--anonymize-labels={labels}")]).warnings();
        assert_eq!(warnings.len(), usize::from(hint.is_some()), "{labels}: {warnings:?}");
        assert!(warnings.iter().all(|line| line.contains(hint.unwrap_or_default())), "{warnings:?}");
    }
    let salt = client_flags(CLIENT, &["--anonymize-labels=a", "--anonymize-salt= hunter2"]);
    assert!(salt.warnings()[0].starts_with("--anonymize-salt has white space"), "{:?}", salt.warnings());
    assert_eq!(secret(&salt.config().unwrap().anonymize.unwrap().salt), " hunter2", "to the letter");
}

#[test]
fn tokens_are_trimmed() {
    let config = client(&["--to-token= t\n", "--from-token", "\tf "]);
    assert_eq!((secret(&config.to.token), config.from.token.as_ref().map(secret)), ("t", Some("f")));
    assert_eq!(secret(&benchmark(BENCHMARK, &["--to-token= t\n"]).unwrap().to.token), "t");
    assert!(client_flags(CLIENT, &["--to-token= \n"]).config().unwrap_err().to_string().contains("--to-token-file"));
    let oidc = ["--oidc-issuer=https://i\n", "--client-id= me ", "--client-secret= s\n"];
    let oidc = server(&oidc).oidc.unwrap();
    let found = (oidc.issuer.as_str(), oidc.client_id.as_str(), oidc.client_secret.expose());
    assert_eq!(found, ("https://i", "me", " s\n"), "only the secret is to the letter");
}
