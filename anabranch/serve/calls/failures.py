"""Every error of Ray and Ray Serve, mapped to the most specific one of ours.

``MAPPED`` names each class on its own, so that a test can tell when Ray adds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray import exceptions as ray
from ray.serve import exceptions as serve

from anabranch.errors import AnabranchError, DeadlineExceeded, NodeError, Unavailable
from anabranch.serve.streams.messages import first_line

Make = Callable[[str, BaseException], AnabranchError]


def _unavailable(segment: str, error: BaseException) -> AnabranchError:
    return Unavailable(f"segment {segment!r} cannot answer now: {first_line(error)}")


def _crowded(segment: str, error: BaseException) -> AnabranchError:
    return Unavailable(f"segment {segment!r} has its queue full")


def _late(segment: str, error: BaseException) -> AnabranchError:
    return DeadlineExceeded(f"segment {segment!r} did not answer in time")


def _broken(segment: str, error: BaseException) -> AnabranchError:
    return NodeError(segment, first_line(error))


def _original(segment: str, error: BaseException) -> AnabranchError:
    """The error that a replica raised, without the traceback that Ray wraps around it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, AnabranchError):
        return cause
    if isinstance(cause, (ray.RayError, serve.RayServeException)) and cause is not error:
        return own_error(segment, cause)
    return NodeError(segment, f"{type(cause).__name__}: {first_line(cause)}")


MAPPED: dict[type[BaseException], Make] = {
    # A replica raised.
    ray.RayTaskError: _original,
    ray.UserCodeException: _original,
    serve.gRPCStatusError: _original,
    # A replica or its machine is gone, or there is none to be had now.
    ray.RayActorError: _unavailable,
    ray.ActorDiedError: _unavailable,
    ray.ActorUnavailableError: _unavailable,
    ray.ActorUnschedulableError: _unavailable,
    ray.ActorPlacementGroupRemoved: _unavailable,
    ray.ActorHandleNotFoundError: _unavailable,
    ray.ActorAlreadyExistsError: _unavailable,
    ray.AsyncioActorExit: _unavailable,
    ray.LocalRayletDiedError: _unavailable,
    ray.NodeDiedError: _unavailable,
    ray.OutOfDiskError: _unavailable,
    ray.OutOfMemoryError: _unavailable,
    ray.ObjectStoreFullError: _unavailable,
    ray.PlasmaObjectNotAvailable: _unavailable,
    ray.ObjectLostError: _unavailable,
    ray.ObjectFreedError: _unavailable,
    ray.ObjectReconstructionFailedError: _unavailable,
    ray.OwnerDiedError: _unavailable,
    ray.RpcError: _unavailable,
    ray.RuntimeEnvSetupError: _unavailable,
    ray.TaskCancelledError: _unavailable,
    ray.TaskPlacementGroupRemoved: _unavailable,
    ray.TaskUnschedulableError: _unavailable,
    ray.WorkerCrashedError: _unavailable,
    ray.RayChannelError: _unavailable,
    ray.RayCgraphCapacityExceeded: _unavailable,
    ray.RayDirectTransportError: _unavailable,
    serve.DeploymentUnavailableError: _unavailable,
    serve.ReplicaUnavailableError: _unavailable,
    serve.RequestCancelledError: _unavailable,
    # More is asked than is allowed to wait.
    ray.PendingCallsLimitExceeded: _crowded,
    serve.BackPressureError: _crowded,
    # Too late.
    ray.GetTimeoutError: _late,
    ray.ObjectFetchTimedOutError: _late,
    ray.RayChannelTimeoutError: _late,
    # Faults of the engine itself.
    ray.RayError: _broken,
    ray.RaySystemError: _broken,
    ray.CrossLanguageError: _broken,
    ray.AuthenticationError: _broken,
    ray.ObjectRefStreamEndOfStreamError: _broken,
    ray.StreamingGeneratorReplayInconsistentError: _broken,
    ray.OufOfBandObjectRefSerializationException: _broken,
    ray.ReferenceCountingAssertionError: _broken,
    ray.UnserializableException: _broken,
    serve.RayServeException: _broken,
}


def own_error(segment: str, error: BaseException) -> AnabranchError:
    """The error of ours that says what ``error`` means for a call to ``segment``."""
    for cls in type(error).__mro__:
        if cls in MAPPED:
            return MAPPED[cls](segment, error)
    return _broken(segment, error)


@contextmanager
def translated(segment: str) -> Iterator[None]:
    """Raise errors of ours for those of Ray; cancellation passes."""
    try:
        yield
    except (AnabranchError, asyncio.CancelledError) as error:
        if isinstance(error, (ray.RayError, serve.RayServeException)):
            raise own_error(segment, error) from None
        raise
    except Exception as error:
        raise own_error(segment, error) from None
