//! Which of the hosts that this one knows it reaches, before a bridge is made and afterwards. Main functions: [`reached`],
//! [`lost`].

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::limits::{NEIGHBOUR_AGAIN_EVERY, NEIGHBOUR_TIMEOUT};
use crate::node::Node;

/// The hosts whose agents answer, each asked over a new connection.
pub(super) async fn reached(node: &Node) -> Vec<String> {
    let hosts = node.neighbours.list();
    let answers = join_all(hosts.iter().map(|host| answers(node, &host.name))).await;
    hosts.into_iter().zip(answers).filter_map(|(host, answers)| answers.then_some(host.name)).collect()
}

/// Those of `hosts` that do not answer any more in this time.
pub(super) async fn lost(node: &Node, hosts: Vec<String>, within: Duration) -> Vec<String> {
    let answers = join_all(hosts.iter().map(|host| async move {
        let again = async {
            while !answers(node, host).await {
                sleep(NEIGHBOUR_AGAIN_EVERY).await;
            }
        };
        timeout(within, again).await.is_ok()
    }))
    .await;
    hosts.into_iter().zip(answers).filter_map(|(host, answers)| (!answers).then_some(host)).collect()
}

async fn answers(node: &Node, host: &str) -> bool {
    let Ok(client) = node.neighbours.client(host) else { return false };
    matches!(timeout(NEIGHBOUR_TIMEOUT, client.connect()).await, Ok(Ok(())))
}
