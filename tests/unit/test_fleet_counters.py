"""The counters of a fleet's ranks as one: nodes are added up, and nothing is counted twice."""

from iotrace.mounts.counters.netdev import NAME as CARDS
from iotrace.replay.figures import Counted
from iotrace.replay.fleet_counters import RankCounters, summed


def ranks(*found: tuple[str, list[Counted]]) -> list[RankCounters]:
    return [RankCounters(node, 1, counters) for node, counters in found]


def test_what_ranks_of_one_node_see_of_it_counts_once_and_nodes_are_added_up() -> None:
    def cards(received: int, synced: int) -> Counted:
        return Counted(CARDS, "node", {"received_bytes": received}, {"received_bytes": synced})

    # the first rank of node a was done at 100, when 30 more were to come; the second at 120
    found = summed(ranks(("a", [cards(100, 30)]), ("a", [cards(120, 11)]), ("b", [cards(7, 1)])))
    assert found == [Counted(CARDS, "node", {"received_bytes": 127}, {"received_bytes": 12}, 2)]


def test_what_the_kernel_counts_for_processes_is_of_each_rank_and_what_a_cluster_counts_is_of_all() -> None:
    own, cluster = Counted("io", "processes", {"read_bytes": 5}), Counted("weka", "cluster", {"ops": 9, "lost_now": 3})
    found = summed(ranks(*((node, [own, cluster]) for node in "aab")))
    assert found == [
        Counted("io", "processes", {"read_bytes": 15}, {}, 2),
        Counted("weka", "cluster", {"ops": 9, "lost_now": 3}, {}, 2),
    ]


def test_figures_of_the_moment_are_those_of_each_end() -> None:
    memory = [
        Counted("memory", "node", {"dirty_now": 8}, {"dirty_now": 1}),
        Counted("memory", "node", {"dirty_now": 4}),
    ]
    (found,) = summed(ranks(("a", memory[:1]), ("b", memory[1:])))
    assert (found.during, found.syncing) == ({"dirty_now": 12}, {"dirty_now": 5})


def test_a_source_that_one_node_alone_has_says_so() -> None:
    disk = Counted("disk", "device", {"read_bytes": 5})
    assert summed(ranks(("a", [disk]), ("b", []))) == [Counted("disk", "device", {"read_bytes": 5}, {}, 1)]


def test_containers_of_one_node_have_cards_of_their_own_and_one_memory() -> None:
    seen = [Counted(CARDS, "node", {"eth0.received_bytes": 5}), Counted("memory", "node", {"dirty_now": 7})]
    found = summed([RankCounters("a", 1, seen), RankCounters("a", 2, seen)])
    assert found == [Counted(CARDS, "node", {"eth0.received_bytes": 10}), Counted("memory", "node", {"dirty_now": 7})]
