// SPDX-License-Identifier: Apache-2.0
// For users: observations, criteria and the collector, on the CPU.
#pragma once

#include <cull/cpu/add.hpp>
#include <cull/cpu/block_effects.hpp>
#include <cull/expert.hpp>
#include <cull/router.hpp>
#include <cull/saliency/add.hpp>
#include <cull/saliency/block_effects.hpp>
#include <cull/saliency/clusters.hpp>
#include <cull/saliency/collector.hpp>
#include <cull/saliency/criteria.hpp>
#include <cull/saliency/expert_sums.hpp>
#include <cull/saliency/layout.hpp>
#include <cull/saliency/measures.hpp>
#include <cull/saliency/merge.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/saliency/state.hpp>
#include <cull/saliency/weighted.hpp>
