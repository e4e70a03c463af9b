//! The client over mutual TLS: both sides trust one CA and nobody else.

#[path = "server/mod.rs"]
mod server;

use std::sync::Arc;

use bytes::Bytes;
use client::{Client, ClientError, tls};
use http_body_util::Full;
use hyper::Response;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use server::{Asked, reply, serve, version};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

struct Ca(CertifiedIssuer<'static, KeyPair>);

struct Identity {
    certificate: String,
    key: String,
}

fn papers<'a>(ca: &'a str, identity: &'a Identity) -> tls::Papers<'a> {
    let (certificate, key) = (identity.certificate.as_bytes(), identity.key.as_bytes());
    tls::Papers { ca: ca.as_bytes(), revocations: None, certificate, key }
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("signs");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn client(&self, identity: &Identity) -> Arc<rustls::ClientConfig> {
        tls::client_config(papers(&self.pem(), identity)).expect("a configuration")
    }
}

/// Serves with `identity`, letting in what `ca` signed. Gives the address and what was asked.
async fn agent(ca: &Ca, identity: &Identity) -> (String, Asked) {
    agent_answering(ca, identity, |_| version()).await
}

/// The same, answering as the test wants.
async fn agent_answering(
    ca: &Ca,
    identity: &Identity,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Copy + Send + 'static,
) -> (String, Asked) {
    let config =
        tls::server_config(papers(&ca.pem(), identity), tls::Strangers::Refused).expect("a configuration");
    listen(config, answer).await
}

async fn listen(
    config: Arc<rustls::ServerConfig>,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Copy + Send + 'static,
) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    let acceptor = TlsAcceptor::from(config);
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("accepts");
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    let session = stream.get_ref().1;
                    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
                    assert_eq!(session.alpn_protocol(), Some(tls::ALPN));
                    serve(stream, log, answer).await;
                }
            });
        }
    });
    (address, asked)
}

#[track_caller]
fn check_refused(result: Result<api::Version, ClientError>, asked: &Asked, mend: &str) {
    let error = result.expect_err("no trust");
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    assert!(error.is_unreachable() && !error.may_have_arrived());
    assert!(error.mend().expect("a mend").contains(mend), "{error:?}");
    assert!(asked.lock().expect("lock").is_empty(), "the server took a request in");
}

#[tokio::test]
async fn two_hosts_of_one_ca_talk() {
    let ca = Ca::new();
    let (address, asked) = agent(&ca, &ca.issue("kvm2")).await;
    let client = Client::tls(address, "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    assert_eq!(client.version().await.expect("a version").host, "kvm1");
    assert_eq!(asked.lock().expect("lock").len(), 2, "connecting asks once, the request is the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_follow_each_other_at_once_on_one_connection() {
    let ca = Ca::new();
    let (address, asked) = agent(&ca, &ca.issue("kvm2")).await;
    let client = Client::tls(address, "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    for _ in 0..300 {
        client.version().await.expect("a version");
    }
    assert_eq!(asked.lock().expect("lock").len(), 301, "one connection, so one question while connecting");
}

const RECEIVING: &str = r#"{"phase":"receiving"}"#;

#[tokio::test]
async fn agents_speak_the_newest_version_that_both_know() {
    let ca = Ca::new();
    let (address, asked) = agent_answering(&ca, &ca.issue("kvm2"), |line| match line {
        "GET /api/v1/version" => {
            reply(200, r#"{"ferry":"9.0.0","protocol":9,"protocol_oldest":1,"host":"kvm2"}"#)
        }
        _ => reply(200, RECEIVING),
    })
    .await;
    let client = Client::tls(address, "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    client.target_status(Uuid::nil()).await.expect("version 1 is in 1 to 9");
    assert_eq!(asked.lock().expect("lock").len(), 2);
}

#[tokio::test]
async fn agents_without_a_version_in_common_are_told_so_before_anything_is_asked() {
    let ca = Ca::new();
    let (address, asked) = agent_answering(&ca, &ca.issue("kvm2"), |_| {
        reply(200, r#"{"ferry":"9.0.0","protocol":9,"protocol_oldest":7,"host":"kvm2"}"#)
    })
    .await;
    let client = Client::tls(address.clone(), "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    let error = client.pledge(Uuid::nil(), Uuid::nil()).await.expect_err("nothing in common");
    assert_eq!(
        error.to_string(),
        format!(
            "the agents have no version of their conversation in common: 1 to 2 here, 7 to 9 at {address}"
        )
    );
    assert_eq!(*asked.lock().expect("lock"), ["GET /api/v1/version"], "the pledge was not sent");
    // Whoever is not another agent is answered all the same.
    client.version().await.expect("a version");
}

#[tokio::test]
async fn an_agent_that_knows_no_copies_is_offered_none() {
    let ca = Ca::new();
    let (address, asked) = agent_answering(&ca, &ca.issue("kvm2"), |line| match line {
        "GET /api/v1/version" => reply(200, r#"{"ferry":"0.1.0","protocol":1,"host":"kvm2"}"#),
        _ => reply(422, r#"{"status":422,"code":"preflight","detail":"it does not fit"}"#),
    })
    .await;
    let client = Client::tls(address.clone(), "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    let offer = |offline: bool| -> api::Offer {
        let offer = serde_json::json!({
            "migration": Uuid::nil(), "source": "kvm1", "xml": "<domain/>", "generation": 1, "suspended": false,
            "encrypted": true, "channels": 1, "offline": offline, "source_facts": {
                "arch": "x86_64", "cpu_vendor": "AuthenticAMD", "nx": true, "kvm": true, "migrate_capabilities": []
            }
        });
        serde_json::from_value(offer).expect("an offer")
    };
    let error = client.offer(&offer(true)).await.expect_err("it would be misunderstood");
    assert_eq!(
        error.to_string(),
        format!("the agents have no version of their conversation in common: 2 here, 1 at {address}")
    );
    assert_eq!(*asked.lock().expect("lock"), ["GET /api/v1/version"], "nothing was offered");
    let refused = client.offer(&offer(false)).await.expect_err("that was its answer");
    assert!(matches!(refused, ClientError::Problem(_)), "a guest that runs is offered: {refused}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (address, asked) = agent(&ours, &theirs.issue("kvm2")).await;
    let client = Client::tls(address, "kvm2", ours.client(&ours.issue("kvm1"))).expect("a client");
    check_refused(client.version().await, &asked, "ferry ca issue");
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (address, asked) = agent(&ours, &ours.issue("kvm2")).await;
    let client = Client::tls(address, "kvm2", ours.client(&theirs.issue("kvm1"))).expect("a client");
    check_refused(client.version().await, &asked, "ferry ca issue");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let ca = Ca::new();
    let (address, asked) = agent(&ca, &ca.issue("kvm2")).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::tls(address, "kvm2", Arc::new(config)).expect("a client");
    check_refused(client.version().await, &asked, "join at the host that made the token");
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let ca = Ca::new();
    let (address, asked) = agent(&ca, &ca.issue("kvm3")).await;
    let client = Client::tls(address, "kvm2", ca.client(&ca.issue("kvm1"))).expect("a client");
    check_refused(client.version().await, &asked, "ferry ca issue");
}

#[test]
fn names_of_a_certificate() {
    let identity = Ca::new().issue("kvm2");
    let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM");
    assert_eq!(tls::names(&der), ["kvm2"]);
    assert!(tls::names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
}

#[test]
fn unusable_files_are_named() {
    let ca = Ca::new();
    let identity = ca.issue("kvm1");
    let other = ca.issue("kvm2");
    let say = |ca: &str, certificate: &str, key: &str| {
        let identity = Identity { certificate: certificate.to_owned(), key: key.to_owned() };
        tls::client_config(papers(ca, &identity)).expect_err("unusable").to_string()
    };
    assert_eq!(say("", &identity.certificate, &identity.key), "the CA holds no certificate");
    assert_eq!(say(&ca.pem(), &identity.key, &identity.key), "the certificate holds no certificate");
    assert_eq!(say(&ca.pem(), &identity.certificate, "x"), "the key is not readable as PEM");
    assert_eq!(
        say(&ca.pem(), &identity.certificate, &other.key),
        "the certificate and its key cannot be used"
    );
}

#[tokio::test]
async fn a_ca_is_trusted_by_its_fingerprint_alone() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = ca.issue("kvm1");
    let config =
        tls::server_config(papers(&ca.pem(), &server), tls::Strangers::Admitted).expect("a configuration");
    let (address, _asked) = listen(config, |_| version()).await;
    let join = |pem: &str, name: &str| {
        let fingerprint = tls::Fingerprint::of_pem(pem.as_bytes()).expect("a certificate");
        let config = tls::joining_config(fingerprint).expect("a configuration");
        let client = Client::tls(address.clone(), name, config).expect("a client");
        async move { client.version().await }
    };
    join(&ca.pem(), "kvm1").await.expect("it shows the CA that was asked for");
    let shown = tls::Fingerprint::of_pem(ca.pem().as_bytes()).expect("a certificate").to_string();
    let error = join(&other.pem(), "kvm1").await.expect_err("another CA");
    assert_eq!(error.distrust(), Some(tls::Distrust::CaDiffers { shown: vec![shown] }));
    // Another host of the same CA does not answer for this one.
    assert!(matches!(join(&ca.pem(), "kvm2").await, Err(ClientError::Tls { .. })));
    // The fingerprint of the host's own certificate is none of a CA.
    assert!(matches!(join(&server.certificate, "kvm1").await, Err(ClientError::Tls { .. })));
}
