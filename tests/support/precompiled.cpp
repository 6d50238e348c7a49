// SPDX-License-Identifier: Apache-2.0
// Nothing but the precompiled header, which needs a source file that is built with it.
