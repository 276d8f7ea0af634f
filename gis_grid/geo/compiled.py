"""Compiling numeric kernels, once for all processes where a cache can be kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy"}

if TYPE_CHECKING:

    def kernel(function: Callable[P, R]) -> Callable[P, R]:
        """Keep the signature, which numba's untyped decorator would lose."""
        return function

    def inlined_kernel(function: Callable[P, R]) -> Callable[P, R]:
        """Keep the signature, as above."""
        return function

    def prefetch(array: Any, at: Any) -> None:
        """Ask for an element before it is needed."""

    def copy_bytes(out: Any, to: int, data: Any, start: int, size: int) -> None:
        """Copy bytes of one array to another, as memcpy does."""
else:

    def kernel(function: Callable[P, R]) -> Callable[P, R]:
        """Compile on first use, without the lock on Python; kept on disk for later processes.

        numba keeps the machine code beside the module or, where that may not be written, in the user's own cache; where
        neither can be, each process compiles anew.
        """
        try:
            return numba.njit(cache=True, **_OPTIONS)(function)
        except RuntimeError:  # numba: no locator available
            return numba.njit(**_OPTIONS)(function)

    def inlined_kernel(function: Callable[P, R]) -> Callable[P, R]:
        """As `kernel`, compiled into each of its callers."""
        return numba.njit(inline="always", **_OPTIONS)(function)

    @intrinsic
    def prefetch(typing_context, array, at):  # noqa: ARG001 - numba's signature
        """Ask for an element before it is needed: the memory answers while other points are worked on."""

        def emit(context, builder, signature, arguments):
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
            name = "llvm.prefetch.p0"
            function = builder.module.globals.get(name)
            if function is None:
                shape = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
                function = ir.Function(builder.module, shape, name)
            to_read, keep, is_data = (ir.Constant(number, value) for value in (0, 3, 1))
            builder.call(function, [address, to_read, keep, is_data])
            return context.get_dummy_value()

        return numba.types.void(array, at), emit

    @intrinsic
    def copy_bytes(typing_context, out, to, data, start, size):  # noqa: ARG001, PLR0917
        """Copy bytes of one array to another, as memcpy does: over twice as fast as a loop, even over a few dozen."""

        def emit(context, builder, signature, arguments):
            places = [
                builder.gep(context.make_array(kind)(context, builder, array).data, [at])
                for kind, array, at in ((signature.args[0], *arguments[:2]), (signature.args[2], *arguments[2:4]))
            ]
            cgutils.raw_memcpy(builder, *places, arguments[4], 1)
            return context.get_dummy_value()

        return numba.types.void(out, to, data, start, size), emit
