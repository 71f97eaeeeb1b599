"""Flags that can have no effect beside the others: refused where they were typed, since ignoring would deceive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.errors import UsageError

if TYPE_CHECKING:
    from zvc69_cli.pipeline.resolve import Choices, EncodeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A flag that a mode leaves nothing to do.

    field_name  the flag's
    does        whether a value of it asks for something at all
    where       whether the options are of that mode
    reason      what the mode is
    way_out     what to do
    """

    field_name: str
    does: Callable[[Any], bool]
    where: Callable[[EncodeOptions], bool]
    reason: str
    way_out: str


def _is_intra(options: EncodeOptions) -> bool:
    return options.codec.keyint == 1


_INTRA: Final = "has no effect with --keyint 1, which makes every frame a keyframe"
_NO_INTRA: Final = "Leave it out, or take a larger --keyint."
IDLES: Final = (
    *(
        Idle(field_name=name, does=does, where=_is_intra, reason=_INTRA, way_out=_NO_INTRA)
        for name, does in (
            ("bframes", lambda value: value > 0),
            ("b_adapt", lambda value: value > 0),
            ("min_keyint", lambda value: value > 1),
            ("scenecut", lambda value: value > 0),
            ("force_key_frames", lambda value: bool(value.strip())),
            ("motion_precision", lambda value: value != "quarter"),
            ("motion_search", lambda value: value != "full"),
            ("rdoq_level", lambda value: value != 2),
            ("cutree", bool),
        )
    ),
    Idle(
        field_name="b_adapt",
        does=lambda value: value > 0,
        where=lambda options: options.codec.bframes == 0,
        reason="has no effect without B frames",
        way_out="Leave it out, or allow some with --bframes.",
    ),
    Idle(
        field_name="jobs",
        does=lambda value: value > 1,
        where=_is_intra,
        reason="has no effect with --keyint 1: frames go at the same time then, as many as there are cores",
        way_out="Leave it out, or take a larger --keyint.",
    ),
    Idle(
        field_name="jobs",
        does=lambda value: value > 1,
        where=lambda options: options.rate.is_steered,
        reason="has no effect with a rate or a buffer: what a frame may take depends on the ones before it",
        way_out="Leave it out, or ask for a quality with --crf.",
    ),
    Idle(
        field_name="qp",
        does=lambda value: isinstance(value, str),
        where=_is_intra,
        reason="has no effect on P and B with --keyint 1, which makes every frame a keyframe",
        way_out="Write one number, or take a larger --keyint.",
    ),
    Idle(
        field_name="rc_lookahead",
        does=lambda value: value > 0,
        where=lambda options: not options.rate.is_steered and not options.codec.cutree,
        reason="has no effect where neither a rate, a buffer nor --cutree asks for it",
        way_out="Add --bitrate or --cutree, or leave it out.",
    ),
    Idle(
        field_name="cutree",
        does=bool,
        where=lambda options: (
            options.codec.qp is not None or not options.codec.rc_lookahead or options.rate.pass_ == 2
        ),
        reason="has no effect with --qp, without a lookahead, or in a second pass, which goes by the first",
        way_out="Leave it out, or use --crf or --bitrate with --rc-lookahead.",
    ),
    Idle(
        field_name="qcomp",
        does=lambda value: value < 1,
        where=lambda options: not options.rate.has_two_passes,
        reason="has no effect in one pass, which does not know the parts to come",
        way_out="Add --passes 2, or leave it out.",
    ),
    Idle(
        field_name="strict",
        does=bool,
        where=lambda options: not options.rate.is_steered,
        reason="has no effect where neither a rate nor a buffer is asked for",
        way_out="Add --bitrate, or --vbv-maxrate and --vbv-bufsize, or leave it out.",
    ),
)


def refuse_idle(choices: Choices, options: EncodeOptions) -> None:
    """Raises UsageError for the first such flag; presets, files and variables are for many runs."""
    for idle in IDLES:
        choice = choices.values.get(idle.field_name)
        if choice is None or not choice.is_explicit:
            continue
        if idle.does(choice.value) and idle.where(options):
            raise UsageError(choice.origin, idle.reason, idle.way_out)
