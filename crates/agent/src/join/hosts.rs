//! What a host remembers of the others: the file `hosts.json` in its state directory. Only the issuer decides what is in
//! it; the others take it over. It reads no clock and asks nobody. Main type: [`Hosts`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{Admission, Certificate, Member, Roster, Secret};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::token::TokenRecord;
use crate::ca;
use crate::failure::JoinFailure;
use crate::limits::{RENEW_BEFORE, RENEW_EARLY, TOKEN_KEPT, TOKENS_MAX};

/// The hosts that have joined, as this one knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hosts {
    /// Where others reach this host, where its configuration does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
    /// All hosts.
    #[serde(default)]
    pub(crate) roster: Roster,
    /// The issuer's tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<TokenRecord>,
    /// What the issuer gave last to each host: whoever asks again gets the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    given: BTreeMap<String, Given>,
}

/// A certificate that the CA has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// The request that it answers, PEM.
    pub(super) request: String,
    /// PEM.
    pub(super) pem: String,
    pub(super) certificate: Certificate,
}

impl Hosts {
    /// What a host knows that has just joined; `listen` where its configuration does not say it.
    pub(super) fn joined(listen: Option<SocketAddr>, roster: Roster) -> Hosts {
        Hosts { listen, roster, ..Hosts::default() }
    }

    /// This host holds the CA's key, and is one of the hosts itself.
    pub(super) fn found(&mut self, here: &str, address: SocketAddr, certificate: Certificate, now_s: i64) {
        self.roster.issuer = here.to_owned();
        match self.member(here) {
            Some(_) => self.add_certificate(here, certificate, now_s),
            None => self.add(here, address.to_string(), certificate),
        }
    }

    /// A host is reached at this address now; whether that is news.
    pub(super) fn relocate(&mut self, host: &str, address: SocketAddr) -> bool {
        let address = address.to_string();
        let mut members = self.roster.hosts.iter_mut().filter(|member| member.revoked_s.is_none());
        match members.find(|member| member.name == host && member.address != address) {
            Some(member) => {
                member.address = address;
                self.roster.version += 1;
                true
            }
            None => false,
        }
    }

    fn add(&mut self, name: &str, address: String, certificate: Certificate) {
        let certificates = vec![certificate];
        self.roster.hosts.push(Member { name: name.to_owned(), address, certificates, revoked_s: None });
        self.roster.version += 1;
    }

    /// The host that holds the CA's key, where it is known.
    pub(crate) fn issuer(&self) -> Option<&str> {
        Some(self.roster.issuer.as_str()).filter(|issuer| !issuer.is_empty())
    }

    /// The host of this name that has joined and was not removed.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members().find(|member| member.name == name)
    }

    /// All that have joined and were not removed.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.hosts.iter().filter(|member| member.revoked_s.is_none())
    }

    /// Remembers a token.
    pub(super) fn add_token(
        &mut self,
        id: Uuid,
        secret: &Secret,
        until_s: i64,
        host: Option<String>,
        now_s: i64,
    ) -> Result<(), JoinFailure> {
        let kept_s = i64::try_from(TOKEN_KEPT.as_secs()).unwrap_or(i64::MAX);
        self.tokens.retain(|token| now_s < token.until_s.saturating_add(kept_s));
        if self.tokens.len() >= TOKENS_MAX {
            return Err(JoinFailure::TokensMany { count: self.tokens.len() });
        }
        self.tokens.push(TokenRecord::new(id, secret, until_s, host));
        Ok(())
    }

    /// Whether a host may come in: its token is right, and its name is free. Who has come in and asks the same once more, since
    /// the answer was lost, is told its certificate.
    pub(super) fn check(
        &mut self,
        admission: &Admission,
        now_s: i64,
        here: &str,
    ) -> Result<Option<String>, JoinFailure> {
        let given = self.given.get(&admission.host).filter(|given| given.request == admission.request);
        let token = self.tokens.iter_mut().find(|token| token.id == admission.id);
        let token = token.ok_or_else(|| JoinFailure::TokenUnknown { host: here.to_owned() })?;
        token.check(&admission.secret, &admission.host, given.is_some(), now_s, here)?;
        if token.used_by.is_some() {
            return Ok(given.map(|given| given.pem.clone()));
        }
        if !ca::can_join(&admission.host) {
            return Err(JoinFailure::NameInvalid { name: admission.host.clone() });
        }
        match self.member(&admission.host) {
            Some(taken) => {
                Err(JoinFailure::NameTaken { host: taken.name.clone(), address: taken.address.clone() })
            }
            None => Ok(None),
        }
    }

    /// A host has come in; its token is used up.
    pub(super) fn admit(&mut self, admission: &Admission, given: Given) {
        for token in self.tokens.iter_mut().filter(|token| token.id == admission.id) {
            token.used_by = Some(admission.host.clone());
        }
        self.add(&admission.host, admission.address.clone(), given.certificate.clone());
        self.given.insert(admission.host.clone(), given);
    }

    /// The certificate of a host that needs no other one yet. It is told once more: a host that could not write it down asks
    /// again and again, and each certificate is to be remembered until it ends.
    pub(super) fn not_due(&self, host: &str, now_s: i64) -> Option<&str> {
        let given = self.given.get(host)?;
        let early_s = i64::try_from((RENEW_BEFORE + RENEW_EARLY).as_secs()).unwrap_or(i64::MAX);
        (given.certificate.until_s - now_s > early_s).then_some(given.pem.as_str())
    }

    /// A host has one more certificate.
    pub(super) fn renewed(&mut self, host: &str, given: Given, now_s: i64) {
        self.add_certificate(host, given.certificate.clone(), now_s);
        self.given.insert(host.to_owned(), given);
    }

    /// The older ones count until they end.
    fn add_certificate(&mut self, host: &str, certificate: Certificate, now_s: i64) {
        let members = self.roster.hosts.iter_mut();
        for member in members.filter(|member| member.name == host && member.revoked_s.is_none()) {
            member.certificates.retain(|known| now_s < known.until_s);
            member.certificates.push(certificate.clone());
        }
        self.roster.version += 1;
    }

    /// Removes a host. Hosts that were removed are remembered until the last of their certificates has ended.
    pub(super) fn remove(&mut self, host: &str, now_s: i64) {
        for member in self.roster.hosts.iter_mut().filter(|member| member.name == host) {
            member.revoked_s.get_or_insert(now_s);
        }
        self.given.remove(host);
        self.roster.hosts.retain(|member| {
            member.revoked_s.is_none() || member.certificates.iter().any(|known| now_s < known.until_s)
        });
        self.roster.version += 1;
    }

    /// Serial numbers that the CA no longer stands for, and since when in seconds since 1970.
    pub(super) fn revoked(&self) -> Vec<(String, i64)> {
        let removed = self.roster.hosts.iter().filter_map(|member| Some((member, member.revoked_s?)));
        removed
            .flat_map(|(member, since_s)| {
                member.certificates.iter().map(move |known| (known.serial.clone(), since_s))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_000;

    fn secret() -> Secret {
        Secret("right".into())
    }

    fn given(serial: &str, until_s: i64) -> Given {
        let certificate = Certificate { serial: serial.into(), until_s };
        Given { request: format!("key of {serial}"), pem: format!("PEM of {serial}"), certificate }
    }

    fn admission(id: u128, host: &str) -> Admission {
        Admission {
            id: Uuid::from_u128(id),
            secret: secret(),
            host: host.into(),
            address: format!("{host}:7700"),
            request: String::new(),
        }
    }

    /// kvm2 has joined; token 2 is unused.
    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        for id in [1, 2] {
            hosts.add_token(Uuid::from_u128(id), &secret(), NOW_S + 60, None, NOW_S).unwrap();
        }
        let kvm2 = admission(1, "kvm2");
        hosts.check(&kvm2, NOW_S, "kvm1").unwrap();
        hosts.admit(&kvm2, given("a", NOW_S + 100));
        hosts
    }

    #[track_caller]
    fn check(hosts: &mut Hosts, admission: &Admission, expect: &str) {
        let answer = hosts.check(admission, NOW_S, "kvm1");
        let answer = answer
            .map_or_else(|failure| failure.to_string(), |again| again.unwrap_or_else(|| "in".to_owned()));
        assert!(answer.contains(expect), "{answer}");
    }

    #[test]
    fn a_name_and_a_token_are_taken_once() {
        let mut hosts = hosts();
        check(&mut hosts, &admission(1, "kvm3"), "used already: host kvm2");
        check(&mut hosts, &admission(2, "kvm2"), "there is a host kvm2 already, at kvm2:7700");
        check(&mut hosts, &admission(3, "kvm3"), "knows no such token");
        for name in ["kvm 3", "KVM2", "3"] {
            check(&mut hosts, &admission(2, name), "cannot be a host's name");
        }
        check(&mut hosts, &admission(2, "kvm3"), "in");
        hosts.remove("kvm2", NOW_S);
        check(&mut hosts, &admission(2, "kvm2"), "in");
    }

    #[test]
    fn who_asks_the_same_again_is_told_the_same() {
        let mut hosts = hosts();
        let again = |host: &str| Admission { request: "key of a".into(), ..admission(1, host) };
        check(&mut hosts, &again("kvm2"), "PEM of a");
        check(&mut hosts, &again("kvm3"), "used already");
        check(
            &mut hosts,
            &Admission { request: "another key".into(), ..admission(1, "kvm2") },
            "used already",
        );
        check(&mut hosts, &Admission { secret: Secret("wrong".into()), ..again("kvm2") }, "secret is wrong");
        check(&mut hosts, &Admission { id: Uuid::from_u128(2), ..again("kvm2") }, "there is a host kvm2");
        hosts.remove("kvm2", NOW_S);
        check(&mut hosts, &again("kvm2"), "used already");
    }

    #[test]
    fn a_host_gets_its_next_certificate_only_when_the_present_one_ends_soon() {
        let mut hosts = hosts();
        let soon_s = (RENEW_BEFORE + RENEW_EARLY).as_secs() as i64;
        hosts.renewed("kvm2", given("b", NOW_S + soon_s), NOW_S);
        assert_eq!(hosts.not_due("kvm2", NOW_S - 1), Some("PEM of b"));
        assert_eq!(hosts.not_due("kvm2", NOW_S), None);
        assert_eq!(hosts.not_due("kvm3", NOW_S), None);
    }

    #[test]
    fn a_host_is_reached_elsewhere() {
        let mut hosts = hosts();
        let (version, address) = (hosts.roster.version, "192.0.2.9:7700".parse().unwrap());
        assert!(hosts.relocate("kvm2", address));
        assert_eq!(hosts.member("kvm2").unwrap().address, "192.0.2.9:7700");
        assert_eq!(hosts.roster.version, version + 1);
        assert!(!hosts.relocate("kvm2", address) && !hosts.relocate("kvm3", address), "no news");
        hosts.remove("kvm2", NOW_S);
        assert!(!hosts.relocate("kvm2", "192.0.2.8:7700".parse().unwrap()), "it is no member");
    }

    #[test]
    fn every_certificate_of_a_removed_host_is_revoked() {
        let mut hosts = hosts();
        hosts.renewed("kvm2", given("b", NOW_S + 200), NOW_S + 50);
        assert_eq!(hosts.revoked(), []);
        hosts.remove("kvm2", NOW_S + 60);
        assert_eq!(hosts.revoked(), [("a".into(), NOW_S + 60), ("b".into(), NOW_S + 60)]);
        assert_eq!(hosts.members().count(), 0);
        // Its name is another machine's now, which is removed in its turn.
        let again = admission(2, "kvm2");
        hosts.admit(&again, given("c", NOW_S + 900));
        hosts.remove("kvm2", NOW_S + 300);
        assert_eq!(hosts.revoked(), [("c".into(), NOW_S + 300)], "the others have ended by then");
    }

    #[test]
    fn tokens_are_bounded_and_forgotten() {
        let mut hosts = Hosts::default();
        let add = |hosts: &mut Hosts, id, now_s| {
            hosts.add_token(Uuid::from_u128(id), &secret(), now_s + 60, None, now_s)
        };
        for id in 0..TOKENS_MAX as u128 {
            add(&mut hosts, id, NOW_S).unwrap();
        }
        add(&mut hosts, 1000, NOW_S).expect_err("too many");
        add(&mut hosts, 1000, NOW_S + 60 + TOKEN_KEPT.as_secs() as i64).unwrap();
        assert_eq!(hosts.tokens.len(), 1);
    }
}
