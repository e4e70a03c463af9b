//! Where memory comes from, and how it is divided.

use crate::fixture::{corpus, listed};
use domain::{Bytes, Definition, DefinitionError, HostNodeMode, MemorySource};

const VCPU: &str = "<vcpu>2</vcpu>";
const CPU: &str = "<cpu mode='host-model'/>";

/// `web1.xml`, which has 2 GiB and 2 vCPUs, with something before its `<vcpu>` and another `<cpu>`.
fn with(before: &str, cpu: &str) -> Result<Definition, DefinitionError> {
    let web1 = corpus("web1.xml");
    Definition::parse(&web1.replace(VCPU, &format!("{before}{VCPU}")).replace(CPU, cpu))
}

#[test]
fn backing_is_read() {
    let backing = "<memoryBacking><hugepages><page size='2048'/></hugepages><nosharepages/><locked/><discard/>
        <source type='memfd'/><access mode='shared'/><allocation mode='immediate' threads='4'/></memoryBacking>
        <numatune><memory mode='interleave' nodeset='0-3,^1'/></numatune>";
    let backing = with(backing, CPU).expect("it is good").domain().memory_backing.clone();
    assert_eq!(backing.source, MemorySource::Memfd);
    assert_eq!(backing.hugepages.and_then(|pages| pages.size), Some(Bytes(2 << 20)));
    assert!(backing.unmerged && backing.locked && backing.discard && backing.immediate);
    assert_eq!((backing.shared, backing.threads), (Some(true), Some(4)));
    let nodes = backing.host_nodes.expect("they are named");
    assert_eq!((nodes.mode, nodes.nodes.into_iter().collect()), (HostNodeMode::Interleave, vec![0, 2, 3]));
}

#[test]
fn cells_hold_all_of_the_guest() {
    let cpu = "<cpu><numa><cell cpus='0' memory='1' unit='GiB'/><cell id='1' cpus='1' memory='1048576'/></numa></cpu>";
    let tune = "<numatune><memnode cellid='1' mode='strict' nodeset='0'/></numatune>";
    let definition = with(tune, cpu).expect("it is good");
    let cells = &definition.domain().numa_cells;
    assert_eq!(cells.iter().map(|cell| cell.memory).collect::<Vec<_>>(), [Bytes(1 << 30); 2]);
    assert!(cells[0].host_nodes.is_none() && cells[1].host_nodes.is_some());
    // What the host does is not seen by the guest; what the guest is told is.
    let untuned = with("", cpu).expect("it is good");
    assert_eq!(definition.domain().guest_abi_differences(untuned.domain()), []);
    let other =
        with("", &cpu.replace("cpus='0'", "cpus='x'").replace("cpus='1'", "cpus='0'").replace("'x'", "'1'"));
    let differences = definition.domain().guest_abi_differences(other.expect("it is good").domain());
    assert_eq!(differences.iter().map(|it| it.element.as_str()).collect::<Vec<_>>(), ["/domain/cpu/numa"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |before, cpu| listed(&with(before, cpu).expect_err("it is refused"));
    let backing =
        "<memoryBacking><hugepages><page size='3'/></hugepages><source type='tape'/><access mode='open'/>
<allocation mode='later'/></memoryBacking><numatune><memory mode='strict' nodeset='3-1'/>
<memnode cellid='9' nodeset='0'/></numatune>";
    insta::assert_snapshot!(refused(backing, CPU), @r"
    line 5, column 35, /domain/memoryBacking/hugepages/page/@size: no page has this size; write 2 and unit='MiB', for one
    line 5, column 65, /domain/memoryBacking/source/@type: `tape` is not supported as `type` of <source>; write type='memfd', or remove it
    line 5, column 86, /domain/memoryBacking/access/@mode: `open` is not a value of `mode` of <access>; write `shared` or `private`
    line 6, column 13, /domain/memoryBacking/allocation/@mode: `later` is not a value of `mode` of <allocation>; write `immediate` or `ondemand`
    line 6, column 75, /domain/numatune/memory/@nodeset: `3-1` is not a set of numbers up to 1023; write it like 0-3,8
    line 7, column 1, /domain/numatune/memnode: <memnode> of a cell that is not there; add the <cell> to <numa>
    ");
    let cpu = "<cpu><numa><cell cpus='0' memory='1' unit='GiB'><distances><sibling id='7' value='10'/></distances></cell>
<cell id='1' cpus='0,5' memory='1'/></numa></cpu>";
    insta::assert_snapshot!(refused("", cpu), @r"
    line 14, column 8, /domain/cpu/numa: the cells have 1025 MiB together, and <memory> is 2 GiB; make <memory> the sum of the cells
    line 14, column 8, /domain/cpu/numa: vCPU 1 is in no cell; put every vCPU into a cell
    line 14, column 8, /domain/cpu/numa: a cell has vCPU 5, and <vcpu> is 2; name vCPUs from 0 on
    line 14, column 8, /domain/cpu/numa: a distance to a cell that is not there; remove the <sibling>
    line 15, column 14, /domain/cpu/numa/cell[2]/@cpus: vCPU 0 is in two cells; put every vCPU into one cell
    ");
}
