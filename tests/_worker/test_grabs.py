"""The scheduler of grabs: every rule of gearmand that it obeys, without a network."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gearmancmd._worker.grabs import ASK_AGAIN_SECONDS, DEAD_SECONDS, MUTE_SECONDS, NEVER, GrabScheduler, ServerGrabs


def grabs(scheduler: GrabScheduler, now: float = 0.0) -> dict[ServerGrabs, int]:
    return dict(scheduler.grant(now))


def assign(scheduler: GrabScheduler, server: ServerGrabs) -> None:
    server.assigned()


def finish(scheduler: GrabScheduler, jobs: int = 1) -> None:
    for _ in range(jobs):
        scheduler.finished()


def test_a_new_connection_is_asked_at_once():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    assert grabs(scheduler) == {server: 1}
    assert grabs(scheduler) == {}


def test_with_one_slot_the_servers_take_turns():
    scheduler = GrabScheduler(1)
    servers = [scheduler.join(), scheduler.join()]
    order = []
    for _ in range(4):
        (server,) = grabs(scheduler)
        assign(scheduler, server)
        assert grabs(scheduler) == {}
        finish(scheduler)
        order.append(servers.index(server))
    assert order == [0, 1, 0, 1]


def test_a_server_without_jobs_leaves_its_slot_to_the_other():
    scheduler = GrabScheduler(1)
    first, second = scheduler.join(), scheduler.join()
    assert grabs(scheduler) == {first: 1}
    assert scheduler.refused(first, now=0.0)
    assert grabs(scheduler) == {second: 1}


def test_no_job_means_sleep_once_all_grabs_are_answered():
    scheduler = GrabScheduler(8)
    server = scheduler.join()
    grabs(scheduler)
    assign(scheduler, server)
    assert grabs(scheduler) == {server: 2}
    assert not scheduler.refused(server, now=0.0)
    assert grabs(scheduler) == {}
    assert scheduler.refused(server, now=0.0)


def test_a_job_behind_a_no_job_means_that_there_may_be_more():
    scheduler = GrabScheduler(8)
    server = scheduler.join()
    grabs(scheduler)
    assign(scheduler, server)
    grabs(scheduler)
    assert not scheduler.refused(server, now=0.0)
    assign(scheduler, server)
    assert grabs(scheduler)


def test_grabs_double_with_each_job_up_to_prefetch():
    scheduler = GrabScheduler(8)
    server = scheduler.join()
    counts = []
    for _ in range(5):
        counts.append(grabs(scheduler)[server])
        for _ in range(counts[-1]):
            assign(scheduler, server)
        finish(scheduler, counts[-1])
    assert counts == [1, 2, 8, 8, 8]


def test_a_noop_without_a_free_slot_is_answered_by_a_grab_later():
    scheduler = GrabScheduler(1)
    first, second = scheduler.join(), scheduler.join()
    grabs(scheduler)
    assign(scheduler, first)
    finish(scheduler)
    assert grabs(scheduler) == {second: 1}
    assert scheduler.refused(second, now=0.0)
    assert grabs(scheduler) == {first: 1}
    assign(scheduler, first)
    second.woken(now=10.0)
    assert grabs(scheduler, 10.0) == {}
    finish(scheduler)
    assert grabs(scheduler, 20.0) == {second: 1}


def test_a_sleeping_server_is_asked_again_every_few_seconds():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    grabs(scheduler)
    assert scheduler.refused(server, now=100.0)
    assert scheduler.due(100.0) == 100.0 + ASK_AGAIN_SECONDS
    assert grabs(scheduler, 100.0 + ASK_AGAIN_SECONDS / 2) == {}
    assert grabs(scheduler, 100.0 + ASK_AGAIN_SECONDS) == {server: 1}


def test_the_circle_of_an_epoch_job_is_slowed_down():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    now, turns = 0.0, 0
    while now < 1.0:
        if grabs(scheduler, now):
            turns += 1
            assert scheduler.refused(server, now)
            server.woken(now)
        now += 0.001
    assert turns < 25
    grabs(scheduler, now + 1)
    assign(scheduler, server)
    finish(scheduler)
    assert grabs(scheduler, now + 1), "a job ends the pauses"


def test_a_noop_long_after_going_to_sleep_is_answered_at_once():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    for now in range(50):
        assert grabs(scheduler, now) == {server: 1}
        assert scheduler.refused(server, now)
        server.woken(now + 1)


def test_calls_that_follow_each_other_quickly_are_no_circle():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    grabs(scheduler)
    assert scheduler.refused(server, now=0.0)
    for call in range(1, 50):
        now = call / 1000
        server.woken(now)
        assert grabs(scheduler, now) == {server: 1}, "a NOOP with a job behind it is answered at once"
        assign(scheduler, server)
        finish(scheduler)
        assert grabs(scheduler, now) == {server: 1}
        assert scheduler.refused(server, now)


def test_nothing_falls_due_without_a_free_slot_or_a_server():
    scheduler = GrabScheduler(1)
    assert scheduler.due(0.0) == NEVER
    server = scheduler.join()
    grabs(scheduler)
    assert scheduler.due(0.0) == NEVER
    assign(scheduler, server)
    assert scheduler.due(0.0) == NEVER


def test_a_lost_connection_takes_its_grabs_along():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    grabs(scheduler)
    scheduler.leave(server)
    assert grabs(scheduler) == {}
    assert grabs(scheduler) == {} and (other := scheduler.join()) and grabs(scheduler) == {other: 1}


@given(st.integers(1, 20), st.integers(1, 4), st.lists(st.sampled_from("jndw"), max_size=200), st.data())
def test_jobs_and_grabs_never_exceed_prefetch_and_no_slot_lies_idle(prefetch, count, events, data):
    scheduler = GrabScheduler(prefetch)
    servers = [scheduler.join() for _ in range(count)]
    now, in_hand = 0.0, 0
    for event in events:
        now += 1.0
        grabs(scheduler, now)
        assert in_hand + sum(server.grabs for server in servers) <= prefetch
        server = data.draw(st.sampled_from(servers))
        if event == "j" and server.grabs:
            assign(scheduler, server)
            in_hand += 1
        elif event == "n" and server.grabs:
            scheduler.refused(server, now)
        elif event == "d" and in_hand:
            in_hand -= 1
            finish(scheduler)
        elif event == "w":
            server.woken(now)
    finish(scheduler, in_hand)
    grabs(scheduler, now + 1)
    idle = any(server.awake and not server.grabs for server in servers)
    assert not idle or sum(server.grabs for server in servers) == prefetch


def test_a_mute_server_keeps_no_slot_from_the_others_and_may_still_send_its_job():
    scheduler = GrabScheduler(1)
    mute, healthy = scheduler.join(), scheduler.join()
    assert grabs(scheduler) == {mute: 1}
    assert grabs(scheduler, MUTE_SECONDS / 2) == {}
    assert scheduler.due(0.0) == MUTE_SECONDS
    scheduler.release_mute(MUTE_SECONDS)
    for now in range(1, 5):
        assert grabs(scheduler, now) == {healthy: 1}
        assign(scheduler, healthy)
        finish(scheduler)
    assert grabs(scheduler, 5.0) == {healthy: 1}
    scheduler.spoke(mute, 6.0)
    assign(scheduler, mute)
    assert scheduler.refused(healthy, 6.0)
    assert scheduler.free == 0, "one job in hand"
    finish(scheduler)
    assert grabs(scheduler, 6.0) == {mute: 1}


def test_a_mute_server_that_is_lost_takes_no_slot_along():
    scheduler = GrabScheduler(1)
    mute = scheduler.join()
    grabs(scheduler)
    scheduler.release_mute(MUTE_SECONDS)
    scheduler.leave(mute)
    assert scheduler.free == 1


def test_a_connection_counts_as_dead_once_nothing_came_for_long_that_is_owed():
    scheduler = GrabScheduler(1)
    server = scheduler.join()
    assert not server.dead(now=DEAD_SECONDS)  # nothing is owed
    grabs(scheduler, now=10.0)
    assert not server.dead(now=9.9 + DEAD_SECONDS)
    assert server.dead(now=10.0 + DEAD_SECONDS)
    server.heard_part(now=20.0)
    assert not server.dead(now=10.0 + DEAD_SECONDS)
    assert server.dead(now=20.0 + DEAD_SECONDS)
    scheduler.spoke(server, now=30.0)
    assert not server.dead(now=20.0 + DEAD_SECONDS)
    scheduler.refused(server, now=30.0)
    assert not server.dead(now=30.0 + 10 * DEAD_SECONDS)
