//! An order about pools, on this host or on every host that it knows: each does it for itself, and each answers. Main
//! functions: [`obey`], [`everywhere`].

use std::sync::Arc;

use api::{HostPools, Pool, PoolOrder, PoolRequest};
use futures_util::future::join_all;

use crate::failure::{Failure, PoolFailure};
use crate::http::problem;
use crate::node::Node;
use crate::pools::{self, ready};

/// Does an order on this host; the pools that it was about are the answer.
pub(crate) async fn obey(node: &Node, order: PoolOrder) -> Result<Vec<Pool>, Failure> {
    let pool = match order {
        PoolOrder::List => return Ok(pools::list(node).await),
        PoolOrder::Show(pool) => pools::show(node, &pool).await?,
        PoolOrder::Define(request) => {
            let pool = pools::define(node, pools::read(request)?).await?;
            pools::show(node, &pool.name).await?
        }
        PoolOrder::Undefine(pool) => return pools::undefine(node, &pool).await.map(|()| Vec::new()),
        PoolOrder::Start(pool) => ready::start(node, &pool).await?,
        PoolOrder::Stop(pool) => ready::stop(node, &pool).await?,
        PoolOrder::Autostart { pool, enabled } => pools::set_autostart(node, &pool, enabled).await?,
    };
    Ok(vec![pool])
}

/// Does an order of another host. What it may change are pools below `allowed_paths`, where that host may have domains
/// anyway: what lies elsewhere is this host's own, and no mount of another host's covers it.
pub(crate) async fn obey_agent(node: &Node, order: PoolOrder) -> Result<Vec<Pool>, Failure> {
    let places = match &order {
        PoolOrder::List | PoolOrder::Show(_) => Vec::new(),
        PoolOrder::Define(request) => {
            let pool = pools::read(request.clone())?;
            let replaced = pools::known(node, &pool.name).ok().map(|known| known.pool.path);
            [Some(pool.path), replaced].into_iter().flatten().collect()
        }
        PoolOrder::Undefine(pool)
        | PoolOrder::Start(pool)
        | PoolOrder::Stop(pool)
        | PoolOrder::Autostart { pool, .. } => vec![pools::known(node, pool)?.pool.path],
    };
    if let Some(path) = places.into_iter().find(|path| !node.config.allows(path)) {
        return Err(PoolFailure::PlaceNotAllowed { path }.into());
    }
    obey(node, order).await
}

/// Does an order on this host and on all that it knows, at the same time. A pool that is defined has the same UUID on all
/// of them; where this host refuses its definition, no other is asked.
pub(crate) async fn everywhere(node: &Arc<Node>, order: PoolOrder) -> Result<Vec<HostPools>, Failure> {
    let (here, order) = match order {
        PoolOrder::Define(request) => {
            let pool = pools::define(node, pools::read(request)?).await?;
            let xml = pool.xml();
            (PoolOrder::Show(pool.name), PoolOrder::Define(PoolRequest::Xml(xml)))
        }
        order @ (PoolOrder::List
        | PoolOrder::Show(_)
        | PoolOrder::Undefine(_)
        | PoolOrder::Start(_)
        | PoolOrder::Stop(_)
        | PoolOrder::Autostart { .. }) => (order.clone(), order),
    };
    let here = async { answer(&node.config.host, obey(node, here).await) };
    let others = node.neighbours.list().into_iter().map(|other| {
        let order = &order;
        async move {
            let asked = async {
                let client = node.neighbours.client(&other.name)?;
                client.order_pools(order).await.map_err(|error| Failure::of_host(&other.name, error))
            };
            answer(&other.name, asked.await)
        }
    });
    let (here, others) = tokio::join!(here, join_all(others));
    let mut answers = [vec![here], others].concat();
    compare(&mut answers);
    Ok(answers)
}

/// Compares each pool with that of the first host that has one by its name.
fn compare(answers: &mut [HostPools]) {
    for place in 1..answers.len() {
        let (before, rest) = answers.split_at_mut(place);
        let HostPools { host: there, pools, differences, .. } = &mut rest[0];
        for pool in pools {
            let same_name = |answer: &HostPools| {
                Some((answer.host.clone(), answer.pools.iter().find(|it| it.name == pool.name)?.clone()))
            };
            let Some((here, first)) = before.iter().find_map(same_name) else { continue };
            let name = &pool.name;
            differences.extend(migration::pool::differences(&first, pool).into_iter().map(|it| {
                format!("{} of pool {name} is {} on {there}, and {} on {here}", it.what, it.there, it.here)
            }));
        }
    }
}

fn answer(host: &str, done: Result<Vec<Pool>, Failure>) -> HostPools {
    let host = host.to_owned();
    match done {
        Ok(pools) => HostPools { host, pools, differences: Vec::new(), problem: None },
        Err(failure) => HostPools {
            host,
            pools: Vec::new(),
            differences: Vec::new(),
            problem: Some(problem::problem(&failure)),
        },
    }
}
