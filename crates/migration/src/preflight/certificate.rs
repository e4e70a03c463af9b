//! Rule `certificate-expires`: the certificates by which the hosts know each other stay valid.

use api::HostFacts;

use super::rule::{Answer, Rule};
use crate::limits::CERTIFICATE_DAYS_MIN;

const DAY_S: i64 = 86_400;

/// A host's certificate is not valid, or not for much longer.
pub(super) static CERTIFICATE_EXPIRES: Rule = Rule {
    code: "certificate-expires",
    what: "both hosts' certificates are valid",
    why: "hosts talk, and encrypt memory, only with a valid certificate",
    needed: false,
    judge: |facts| {
        let Some(now_ms) = facts.source.now_ms else { return Vec::new() };
        let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        hosts.filter_map(|host| certificate(host, now_s)).collect()
    },
};

fn certificate(host: &HostFacts, now_s: i64) -> Option<Answer> {
    let (is, host) = (host.certificate?, &host.host);
    let mend = format!("ferry ca issue {host} --replace …, copy it to {host}, and restart the agent there");
    let days = (is.until_s - now_s) / DAY_S;
    let answer = if is.until_s <= now_s {
        Answer::fail(format!("the certificate of {host} has expired"), mend)
    } else if is.from_s > now_s {
        let mend = "set the clocks of both hosts: timedatectl set-ntp true";
        Answer::fail(format!("the certificate of {host} is not valid yet"), mend)
    } else if days < CERTIFICATE_DAYS_MIN {
        Answer::warn(format!("the certificate of {host} expires in {days} days"), mend)
    } else {
        Answer::pass()
    };
    Some(answer.about(host))
}
