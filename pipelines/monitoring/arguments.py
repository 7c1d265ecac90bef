"""What the monitoring pipeline takes."""

from collections.abc import Iterator
from typing import Annotated

from cd4ml.monitoring import receivers, spans
from cd4ml.running.arguments import Arguments, Means, Name, Store, Text, checked_by, told


def _moment(text: str) -> None:
    if text:
        spans.moment(text)


class Monitoring(Arguments):
    """A run of the monitoring pipeline."""

    name: Annotated[Name, Means.MODEL]
    """The model's name in the registry."""
    store: Store
    """The store that holds the registry and what routers captured, and takes what is found."""
    every: Annotated[Text, checked_by(spans.width)] = "1 hour"
    """How long a window is: `1 hour`, `1 day` or PT1H."""
    since: Annotated[str, checked_by(_moment)] = ""
    """The first moment, as `2026-11-29T08:00Z`: the windows from then on; what is due where it is empty."""
    until: Annotated[str, checked_by(_moment)] = ""
    """The moment that does not count any more; all that is over where it is empty."""
    capture: Annotated[str, Means.PLACE] = ""
    """What a router captured, a path or `s3://` URI; that of the model where it is empty."""
    alertmanager: Annotated[str, checked_by(receivers.check_address)] = ""
    """The address of an Alertmanager, which is told of alerts; empty where there is none."""
    webhook: Annotated[str, checked_by(receivers.check_address)] = ""
    """The address that is sent an event when an alert fires, is acknowledged or resolved; likewise."""

    def mistakes_together(self) -> Iterator[str]:
        """That a moment is named that ends nothing."""
        if self.until and not self.since:
            yield "until: nothing says from when; name `since` too, or leave both out for what is due"
        yield from told(lambda: spans.check_order(self.since, self.until))
