"""Users of a model, in a process of their own: the tests fork, which a process with clients at work may not."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx

AT_ONCE = 2
"""How many users ask at a time."""
STARTED = "asking"
"""What the process says first."""


class Users:
    """Those who ask as long as the context lasts; what became of their requests."""

    players = False
    """Whether they each say who they are, and are worth as much as was predicted, on average."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Counter[str] = Counter()
        self.predictions: set[float] = set()
        self.slowest = 0.0

    def __enter__(self) -> "Users":
        command = [sys.executable, __file__, self.url, *(["players"] if self.players else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == STARTED
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._reader.join()
        assert self._process.wait() == 0

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            answer, seconds, prediction = json.loads(line)
            self.answers[answer] += 1
            self.slowest = max(self.slowest, seconds)
            if prediction is not None:
                self.predictions.add(prediction)


class Players(Users):
    players = True


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ask(url: str, players: bool, ended: threading.Event) -> None:
    with httpx.Client(trust_env=False, timeout=20) as client:
        while not ended.wait(random.random() / 100):
            began, prediction = time.monotonic(), None
            headers = {"X-Player": str(random.randrange(10**9))} if players else {}
            try:
                answer = client.post(url, json={"data": {"names": ["age"], "ndarray": [[99]]}}, headers=headers)
                said, seconds = str(answer.status_code), time.monotonic() - began
                if answer.status_code == 200:
                    prediction = answer.json()["data"]["ndarray"][0][0]
                    if players:
                        feedback = {
                            "response": {"meta": answer.json()["meta"]},
                            "reward": float(random.random() < prediction),
                        }
                        client.post(url.replace("predictions", "feedback"), json=feedback)
            except httpx.TransportError as error:
                said, seconds = type(error).__name__, time.monotonic() - began
            say(json.dumps([said, seconds, prediction]))


def main(url: str, *players: str) -> None:
    ended = threading.Event()
    say(STARTED)
    for _ in range(AT_ONCE):
        threading.Thread(target=ask, args=(url, bool(players), ended)).start()
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
