// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Memory spaces: views carry one as a type, so that memory a backend cannot reach does not compile.
struct host_memory {};
struct device_memory {};

/// A backend: a small copyable object (`on_cpu`, `on_cuda`) that names the memory it works on.
template <class E>
concept executor = std::copy_constructible<E> && requires { typename E::memory_space; };

/// Implementation of operation `Op` (a plain tag) on executor `Exec`.
/// Declared here, defined only by the header that defines the executor: users never specialise it.
template <class Op, class Exec>
struct impl;

/// True where a backend implements an operation; public functions constrain on it, so that a missing one is one readable error.
template <class Op, class Exec>
concept implemented_on = executor<Exec> && requires { sizeof(impl<Op, Exec>); };

CULL_NAMESPACE_END
