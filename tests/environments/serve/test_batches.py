"""Requests that come at once are one call of the model."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cd4ml.serving import batches as serving
from cd4ml.serving.application import RefusedError
from cd4ml.serving.batches import BATCH_ROWS, CALL_ROWS, Batches
from cd4ml.serving.rows import Inputs


def inputs(*values: float) -> Inputs:
    return Inputs(
        np.array(values, np.float32)[:, None],
        np.empty((len(values), 0), object),
        np.empty((len(values), 0), np.int64),
        {},
        {},
    )


class Model:
    """Half of its number; it begins each call only when it may, and fails on a negative number."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.may = threading.Semaphore(0)

    def __call__(self, given: Inputs) -> np.ndarray:
        self.may.acquire(timeout=10)
        self.calls.append(given.numbers[:, 0].tolist())
        if (given.numbers < 0).any():
            raise ValueError("negative")
        return given.numbers[:, 0] / 2


def answers(model: Model, ask: Callable[[Batches], Sequence[asyncio.Future]]) -> list:
    async def run() -> list:
        asked = ask(Batches(model, check=lambda _: None, observe=lambda *_: None))
        await asyncio.sleep(0.05)
        model.may.release(100)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(run())


def test_what_comes_while_the_model_is_busy_is_one_call_and_each_gets_its_own_rows():
    model = Model()

    def ask(batches: Batches) -> Sequence[asyncio.Future]:
        return [asyncio.ensure_future(batches.predict(inputs(*one))) for one in ([2], [4, 6], [8])]

    found = answers(model, ask)

    assert [one.tolist() for one in found] == [[1], [2, 3], [4]]
    assert model.calls == [[2, 4, 6, 8]]


def test_a_batch_has_a_bound_and_a_larger_request_is_one_of_its_own():
    model = Model()
    many = np.arange(BATCH_ROWS + 1, dtype=np.float32)

    def ask(batches: Batches) -> Sequence[asyncio.Future]:
        return [asyncio.ensure_future(batches.predict(one)) for one in (inputs(2), inputs(*many), inputs(4), inputs(6))]

    found = answers(model, ask)

    assert [len(one) for one in model.calls] == [1, BATCH_ROWS + 1, 2]
    np.testing.assert_array_equal(found[1], many / 2)


def test_a_call_has_a_bound_of_rows_and_a_request_of_more_gets_all_of_its_own():
    model = Model()
    many = np.arange(2 * CALL_ROWS + 1, dtype=np.float32)

    [found] = answers(model, lambda batches: [asyncio.ensure_future(batches.predict(inputs(*many)))])

    assert [len(one) for one in model.calls] == [CALL_ROWS, CALL_ROWS, 1]
    np.testing.assert_array_equal(found, many / 2)


def test_a_request_that_the_model_fails_on_spoils_no_other():
    def ask(batches: Batches) -> Sequence[asyncio.Future]:
        return [asyncio.ensure_future(batches.predict(one)) for one in (inputs(2), inputs(-1), inputs(6))]

    first, second, third = answers(Model(), ask)

    assert (first.tolist(), third.tolist()) == ([1], [3])
    with pytest.raises(ValueError, match="negative"):
        raise second


def test_who_asks_whether_the_model_is_well_comes_before_all_that_wait():
    model = Model()

    async def later(batches: Batches) -> np.ndarray:
        await asyncio.sleep(0.02)
        return await batches.predict_first(inputs(10))

    def ask(batches: Batches) -> Sequence[asyncio.Future]:
        large = inputs(*[2] * (BATCH_ROWS + 1))
        return [asyncio.ensure_future(one) for one in (batches.predict(large), batches.predict(large), later(batches))]

    answers(model, ask)

    assert [len(one) for one in model.calls] == [BATCH_ROWS + 1, 1, BATCH_ROWS + 1]


def test_who_asks_whether_the_model_is_well_is_not_counted():
    model, counted = Model(), []
    model.may.release(100)

    def count(requests: Sequence[Inputs], probabilities: np.ndarray) -> None:
        counted.append((len(requests), probabilities.tolist()))

    async def ask() -> None:
        batches = Batches(model, check=lambda _: None, observe=count)
        await asyncio.gather(batches.predict_first(inputs(4)), batches.predict(inputs(2)), batches.predict(inputs(6)))

    asyncio.run(ask())

    assert counted == [(2, [1, 3])]


def test_a_client_that_is_gone_holds_up_nobody():
    def ask(batches: Batches) -> Sequence[asyncio.Future]:
        asked = [asyncio.ensure_future(batches.predict(one)) for one in (inputs(2), inputs(4))]
        asyncio.get_running_loop().call_later(0.01, asked[0].cancel)
        return asked

    _, second = answers(Model(), ask)

    assert second.tolist() == [2]


def test_who_waits_is_told_of_each_call_of_a_batch_that_hangs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "CALL_SECONDS", 0.1)
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.02)
    model = Model()

    async def refused(batches: Batches, rows: Inputs) -> str:
        with pytest.raises(RefusedError) as told:
            await asyncio.wait_for(batches.predict(rows), 5)
        return told.value.reason

    async def called(times: int) -> None:
        while len(model.calls) < times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # so that it is in its next call, if there is one

    async def run() -> tuple[str, str, list[float]]:
        batches = Batches(model, check=lambda _: None, observe=lambda *_: None)
        in_the_first_call = await refused(batches, inputs(*[2] * (CALL_ROWS + 1)))
        model.may.release()
        await called(1)
        in_the_second_call = await refused(batches, inputs(4))
        model.may.release(100)
        await called(2)
        return in_the_first_call, in_the_second_call, (await batches.predict(inputs(4))).tolist()

    assert asyncio.run(run()) == ("MODEL_HANGS", "MODEL_HANGS", [2])
