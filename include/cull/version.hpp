// SPDX-License-Identifier: Apache-2.0
#pragma once

#define CULL_VERSION_MAJOR 0
#define CULL_VERSION_MINOR 1
#define CULL_VERSION_PATCH 0
