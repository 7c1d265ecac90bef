"""This machine as a target: one server a model, which takes the port of the one before.

Where that port is taken by the server before, the release comes up on another and is verified there. When it is routed,
it listens at the port too, and then the server before ends.

Where requests are divided, a router takes the port, and the server before moves to another. The router stays: from then
on a release is routed to without a server that starts anew, and the one before ends when the release holds.

Beside `server.json` (a `Server`, there as long as the server is meant to run) lie, while one takes the place of
another, `raised.json`, the server that callers do not reach yet, and `replacement.json`, a `Replacement`. It says what
was there before, so that whoever comes next can undo a rollout whose process was killed. They come and go, so they are
no objects of the store, which never change. They lie in `.serving/<name>/` beside the objects where the store is a
folder, and else in the user's state folder, with a copy of each version that is served.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cd4ml.contracts import signature
from cd4ml.contracts.document import Content, Document
from cd4ml.contracts.model import digest as digest_of
from cd4ml.contracts.release import Version
from cd4ml.contracts.traffic import Arm, Sticky, Traffic
from cd4ml.deployment import verify
from cd4ml.deployment.targets import MACHINE, Release, Served, Split, Target, Unfinished, servers
from cd4ml.deployment.targets.router import Place, Router, arm_name, traffic_of
from cd4ml.deployment.targets.servers import Known, Server
from cd4ml.errors import Cd4mlError, DeploymentError, SignatureError
from cd4ml.storage import Store, local_copy, local_path, scratch
from cd4ml.storage.folder import FolderStore

SERVING = ".serving"
"""The folder of what is served, beside the kinds of objects of the store."""
READY_SECONDS = 90


def _number_of_its_own(content: Content) -> Content:
    """Version 1 had at first the last number before it, in histories of one record a deployment."""
    return {**content, "number": content.pop("recorded") + 1} if "recorded" in content else content


@dataclass(frozen=True)
class Replacement(
    Document,
    kind="cd4ml/Replacement",
    schema_version=2,
    remedy="end the model's servers, if any still run, remove the file, and deploy again",
    upgrades={1: _number_of_its_own},
):
    """A rollout that is not over."""

    run: str
    before: Server | None
    """What was served when it began."""
    number: int
    """Its deployment's, in the history."""


class Machine(Target):
    """This machine."""

    name = MACHINE
    splits = True

    def __init__(self, store: Store, model: str) -> None:
        super().__init__(store, model)
        self._folder = _folder_of(store) / model
        self._file, self._note_file = self._folder / "server.json", self._folder / "replacement.json"
        self._raised_file = self._folder / "raised.json"
        self._moved_file = self._folder / "moved.json"
        self._place = Place(self._folder)
        self._marks = {str(one) for one in (self._file, self._raised_file, self._moved_file, self._place.file)}
        if isinstance(store, FolderStore):
            before = store.path(f"deployments/{model}")  # where older versions kept the files
            self._marks.add(str(before / self._file.name))
            _take_over(before, self._folder)

    def check(self, version: Version) -> None:  # noqa: ARG002, D102
        servers.program()

    def turn(self) -> AbstractContextManager[object]:  # noqa: D102
        return self.alone()

    def unfinished(self) -> Unfinished | None:  # noqa: D102
        note = self._note()
        return Unfinished(note.number, _served(note.before)) if note else None

    def raise_(self, release: Release) -> str:
        """Brings the model's files, writes down what is served, and starts a server beside it."""
        left, before = self._note(), self.server()
        running = before if self.current() else None
        if running is None:
            servers.end(Router, self._place.file)  # it stays when the server behind it is killed
        port = servers.free_port() if running and running.public_port == release.port else release.port
        servers.check_port(port)
        self._bring(release.version)
        before = before or (left.before if left else None)  # a note is left where what was killed could not be undone
        Replacement(release.begun.run, before, release.begun.number).write(self._note_file)
        if running is None:
            self.end_server()  # it stays when the router before it is killed
        further = release.port if port != release.port else None
        return self._start(self._raised_file, release, port=port, further_port=further).url

    def route(self, release: Release) -> str:
        """Has the router ask the release alone; without one the release takes the port, and the server before ends."""
        raised, running = self._raised(), self.server()
        if running and running.router_port == release.port:
            self._follow(self._traffic((_arm(raised, 1.0),)))
            routed = replace(raised, router_port=release.port)
        elif raised.port == release.port:
            self.end_server()
            routed = raised
        else:
            routed = servers.take_further(raised, release.port)
            self.end_server()
            verify.check_serves(self.store, release.version, routed.url)
        routed.write(self._file)
        self._raised_file.unlink()
        return routed.url

    @property
    def capture(self) -> Path:
        """Where the router keeps what it is asked, and the server where there is no router."""
        return self._place.capture

    def share(
        self, release: Release, weight: float, features: list[str], *, sticky: Sticky | None = None
    ) -> Split | None:
        """Has the router ask the release for a part; without a router, one takes the place of what is served."""
        raised, before = self._raised(), self._behind_router(release)
        if before is None:
            return None
        arms = (_arm(before, 1 - weight), _arm(raised, weight))
        return self._divide(arms, features, sticky=sticky)

    def mirror(self, release: Release, copied: float, features: list[str]) -> Split | None:
        """Has the router copy a part to the release; without a router, one takes the place of what is served."""
        raised, before = self._raised(), self._behind_router(release)
        shadow = replace(_arm(raised, 0.0), mirror=True, copied=copied)
        return self._divide((_arm(before, 1.0), shadow), features) if before else None

    def current(self) -> Served | None:  # noqa: D102
        server = self.server()
        return _served(server) if server and (not server.router_port or self._place.router()) else None

    def keep(self) -> None:
        """Ends the server before, where it still runs, and takes away the note."""
        note, running = self._note(), self.server()
        if note and note.before and note.before.process() != (running and running.process()):
            servers.stop(note.before, self._moved_file)
        self._note_file.unlink(missing_ok=True)
        self._remove_copies()

    def undo(self) -> str:
        """Ends the release, and serves again what was kept before; until that answers, the note stays."""
        note = self._note()
        if note is None:
            return ""
        before, router = note.before, self._place.router()
        if before and before.process() and (router or not before.router_port):
            stay: list[Known] = [before]
            if router and before.router_port:
                whole = replace(self._place.traffic(), arms=(_arm(before, 1.0),), sticky=None, captured_features=())
                self._place.follow(router, whole)
                stay.append(router)
            elif router:  # first, for it asks the server that was moved
                servers.end(Router, self._place.file)
            before.write(self._file)
            said = f"; {_was(before)}, is served as before at {before.url}"
            self._end_raised(but=stay)
            self._note_file.unlink()
        else:
            self._end_all()
            said = self._put_back(note)
        self._remove_copies()
        return f"{self.model}: the rollout of run {note.run} was undone{said}"

    def remove(self) -> None:  # noqa: D102
        self._end_all()
        self._note_file.unlink(missing_ok=True)
        shutil.rmtree(self._copies, ignore_errors=True)

    def meant(self) -> Served | None:
        """What is meant to be served, also where its server was killed, or the router before it."""
        return _served(Server.read(self._file)) if self._file.exists() else None

    def server(self) -> Server | None:
        """The running server."""
        return servers.find(self._file)

    def ports(self) -> set[int]:
        """Where its router, its server and one that is on its way listen."""
        router, own = self._place.router(), (self.server(), servers.find(self._raised_file))
        listening = {port for one in own if one for port in (one.port, one.public_port)}
        return listening | ({router.port} if router else set())

    def may_change(self) -> bool:
        """Whether servers of the model are known here, and are ours to change."""
        return os.access(self._folder, os.W_OK)

    @contextmanager
    def alone(self, wait: bool = True) -> Iterator[bool]:
        """Holds the deployment for oneself; another run that deploys the same waits, where it does not go on.

        Yields:
            Whether it is held.

        Raises:
            DeploymentError: The folder of what is served cannot be written.
        """
        file = self._folder / "lock"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            opened = file.open("w")
        except OSError as error:
            raise DeploymentError(
                f"{file}: cannot be written ({error.strerror}); who deploys has to hold it"
            ) from error
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            except OSError as error:
                raise DeploymentError(
                    f"{file}: cannot be locked ({error.strerror}), and two runs could deploy at once; keep the store "
                    "on a file system with locks, or in a bucket"
                ) from error
            else:
                yield True

    def end_server(self) -> None:
        """Ends the running server, and its router; whoever calls it holds the deployment (`alone`)."""
        servers.end(Router, self._place.file)
        servers.end(Server, self._file)

    def _end_all(self) -> None:
        """Ends every server of the model, also one whose file was not written any more."""
        self.end_server()
        self._end_raised()

    def _end_raised(self, but: Iterable[Known] = ()) -> None:
        servers.end(Server, self._raised_file)
        self._moved_file.unlink(missing_ok=True)
        servers.kill_marked(self._marks, but=but)

    def _raised(self) -> Server:
        raised = servers.find(self._raised_file)
        if raised is None:
            raise DeploymentError(f"{self.model}: the server of the release has ended since it was verified")
        return raised

    def _move(self, running: Server, release: Release) -> Server:
        """Moves what is served to another port; a router takes its place, beside which it serves until that routes."""
        log = self._folder / "moved.log"
        moved = self._serve_again(running, self._moved_file, port=servers.free_port(), log=log)
        moved = replace(moved, router_port=running.public_port, owner=running.owner)
        self._place.start(running.public_port, self._traffic((_arm(moved, 1.0),)))
        Replacement(release.begun.run, moved, release.begun.number).write(self._note_file)
        servers.stop(running, self._file)
        moved.write(self._file)
        self._moved_file.unlink()
        return moved

    def _behind_router(self, release: Release) -> Server | None:
        """What is served, once a router asks it; None where nothing is."""
        running = self.server()
        return running if running is None or running.router_port else self._move(running, release)

    def _divide(self, arms: tuple[Arm, Arm], features: list[str], *, sticky: Sticky | None = None) -> Split:
        self._follow(self._traffic(arms, features, sticky=sticky))
        champion, challenger = arms
        return Split(self._place.capture, champion.name, challenger.name, mirrored=challenger.mirror)

    def _traffic(self, arms: tuple[Arm, ...], features: Sequence[str] = (), *, sticky: Sticky | None = None) -> Traffic:
        return traffic_of(self.store, self.model, arms, features=features, sticky=sticky)

    def _follow(self, traffic: Traffic) -> None:
        router = self._place.router()
        if router is None:
            raise DeploymentError(f"{self.model}: the router has ended")
        self._place.follow(router, traffic)

    def _start(self, file: Path, release: Release, *, port: int, further_port: int | None) -> Server:
        """Starts a server of the release and waits until it answers."""
        note = self._note()
        before = note.before if note else None
        server = servers.start(
            file,
            name=self.model,
            model_folder=self._model_folder(release.version),
            digest=release.version.digest,
            port=port,
            log=release.log_file,
            run=release.begun.run,
            kept=servers.KEEP_SERVING in os.environ or (before is not None and before.kept),
            number=release.begun.number,
            capture=self._place.capture,
            further_port=further_port,
        )
        _wait_until_ready(server)
        return server

    def _serve_again(self, before: Server, file: Path, *, port: int, log: Path) -> Server:
        """Starts another server of what one served, and waits until it answers."""
        server = servers.start(
            file,
            name=self.model,
            model_folder=Path(before.model_folder),
            digest=before.digest,
            port=port,
            log=log,
            run=before.run,
            kept=before.kept,
            number=before.number,
            capture=self._place.capture,
        )
        _wait_until_ready(server)
        return server

    def _put_back(self, note: Replacement) -> str:
        """Serves again what was kept before; the end of a sentence that says so."""
        before = note.before
        if before is None or not before.kept:
            self._note_file.unlink()
            return "; nothing is served, as no server was kept before"
        was = _was(before)
        try:
            self._serve_again(before, self._file, port=before.public_port, log=Path(before.log))
            self._note_file.unlink()
        except (Cd4mlError, OSError) as error:
            return f", but {was}, could not be served again: {error}"
        return f"; {was}, is served again at {before.url}"

    def _note(self) -> Replacement | None:
        try:
            text = self._note_file.read_bytes()
        except FileNotFoundError:
            return None
        return Replacement.parse(text, str(self._note_file))

    def _model_folder(self, version: Version) -> Path:
        if isinstance(self.store, FolderStore):
            return self.store.path(f"{version.folder}/model")
        return self._copies / str(version.version) / "model"

    @property
    def _copies(self) -> Path:
        """The models that are copied out of a bucket, by version."""
        return self._folder / "models"

    def _remove_copies(self) -> None:
        """Removes the copies of models that are neither served nor noted."""
        note, server = self._note(), self.server()
        needed = {Path(one.model_folder).parent for one in (server, note and note.before) if one}
        for copy in self._copies.glob("*"):
            if copy not in needed:
                shutil.rmtree(copy, ignore_errors=True)

    def _bring(self, version: Version) -> None:
        """Makes sure that the model lies on this machine, as it was published."""
        folder = self._model_folder(version)
        if isinstance(self.store, FolderStore) or (folder.exists() and self._is_as_published(version)):
            return
        uri = self.store.uri(version.folder)
        shutil.rmtree(folder.parent, ignore_errors=True)
        self._copies.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch.folder(self._copies, ".unfinished") as unfinished, local_copy(uri) as found:
            copied = shutil.copytree(found, unfinished / "version")
            digest = digest_of(copied / folder.name)
            if digest != version.digest:
                raise DeploymentError(
                    f"{uri}: holds the model {digest}, not {version.digest}, which was published; publish it again"
                )
            copied.rename(folder.parent)

    def _is_as_published(self, version: Version) -> bool:
        """Whether the copy of a version is the one, and signed by whom this machine trusts now."""
        folder = self._model_folder(version)
        try:
            signature.check(folder.parent, str(folder.parent), version=f"{version.name}/{version.version}")
        except SignatureError:
            return False
        return digest_of(folder) == version.digest


def _wait_until_ready(server: Server) -> None:
    verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)


def _arm(server: Server, weight: float) -> Arm:
    version = Path(server.model_folder).parent.name
    return Arm(arm_name(server.number, version), server.address, weight, version)


def _was(before: Server) -> str:
    return f"version {Path(before.model_folder).parent.name}, which was served before"


def _served(server: Server | None) -> Served | None:
    return Served(server.number, server.url) if server else None


def _folder_of(store: Store) -> Path:
    if isinstance(store, FolderStore):
        return store.root / SERVING
    state = local_path(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    place = f"{os.environ.get('AWS_ENDPOINT_URL', '')} {store.location}"
    return state / "cd4ml" / "serving" / hashlib.sha256(place.encode()).hexdigest()[:16]


def _take_over(before: Path, folder: Path) -> None:
    """Moves the files to where they lie now; a store that cannot be written keeps them."""
    for name in ("server.json", "replacement.json"):
        if (before / name).exists() and not (folder / name).exists():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                (before / name).rename(folder / name)
