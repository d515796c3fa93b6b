"""Tasks that nobody awaits."""

import asyncio

from riverport.base.tasks import Tasks


def test_they_end_in_the_order_in_which_they_began() -> None:
    ended: list[int] = []

    async def rest(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def main() -> None:
        tasks = Tasks()
        for number in range(50):
            tasks.start(rest(number))
        await asyncio.sleep(0)
        await tasks.cancel()
        assert list(tasks) == []

    asyncio.run(main())
    assert ended == list(range(50))


def test_who_is_done_is_not_kept_and_says_what_came_of_it() -> None:
    async def fail() -> None:
        raise ValueError("so it is")

    async def one() -> int:
        return 1

    async def main() -> None:
        tasks = Tasks()
        good, bad = tasks.start(one()), tasks.start(fail())
        assert list(tasks) == [good, bad]
        assert await good == 1
        assert isinstance((await asyncio.gather(bad, return_exceptions=True))[0], ValueError)
        assert list(tasks) == []
        await tasks.cancel()

    asyncio.run(main())


def test_cancelling_waits_for_what_a_task_still_has_to_do() -> None:
    async def main() -> bool:
        cleaned = False

        async def work() -> None:
            nonlocal cleaned
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.001)
                cleaned = True

        tasks = Tasks(asyncio.get_running_loop())
        tasks.start(work())
        await asyncio.sleep(0)
        await tasks.cancel()
        return cleaned

    assert asyncio.run(main())
