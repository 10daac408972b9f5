"""What one thread leaves for another."""

from __future__ import annotations

import select
import threading
import time

from gearmancmd.mailbox import Bell, Mailbox


def test_items_come_out_in_order_and_once():
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put_all([1])
    mailbox.put_all([2, 3])
    assert mailbox.take(30) == [1, 2, 3]
    assert mailbox.take(0) == []


def test_the_reader_can_be_woken_without_an_item():
    mailbox: Mailbox[int] = Mailbox()
    threading.Timer(0.01, mailbox.wake).start()
    assert mailbox.take(30) == []


def test_a_bell_is_seen_by_a_poll_until_it_is_answered():
    bell = Bell()
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    assert not poll.poll(0)
    bell.ring()
    bell.ring()
    assert poll.poll(0)
    bell.answer()
    assert not poll.poll(0)
    bell.ring()
    assert poll.poll(0)


def test_any_number_of_wake_ups_does_not_block():
    mailbox: Mailbox[int] = Mailbox()
    for _ in range(200_000):
        mailbox.wake()
    mailbox.put_all([1])
    assert mailbox.take(30) == [1]


def test_nothing_is_lost_between_threads():
    mailbox: Mailbox[tuple[int, int]] = Mailbox()

    def write(writer: int) -> None:
        for number in range(5000):
            mailbox.put_all([(writer, number)])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    taken: list[tuple[int, int]] = []
    begun = time.monotonic()
    while len(taken) < 20_000:
        taken += mailbox.take(30)  # may be nothing: what a ring was for may have been taken before it was heard
        assert time.monotonic() - begun < 25, "an item was put, and nobody rang"
    for writer in writers:
        writer.join()
    for number in range(4):
        assert [n for w, n in taken if w == number] == list(range(5000))
