// A step of foragers over the grids of one world: walk, eat, leave trails, live or die, look around.
// memfarm/reference_foragers.py is the same in NumPy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels_store.h"
#include "kernels_walkers.h"

namespace memfarm {

constexpr int64_t EAT = 5;  // the action; 1 to 4 are steps
constexpr int64_t CHOICES = 6;
constexpr int ADD = 1, MAX = 2;  // how

// The agents of all worlds: where they are, what they do, and who does anything.
struct Crowd {
    int64_t count;
    const int32_t *copy, *y, *x;
    const int64_t* actions;
    const bool* live;

    bool eats(int64_t i) const { return live[i] && actions[i] == EAT; }
};

// What those who eat find, up to `bite`, in the order of the batch; eaten: in units of energy, 0 for the others.
template <class Codec>
void eat(Store& store, int lane, const Crowd& crowd, double bite, double energy, float* eaten) {
    Writer<Codec> writer(store);
    for (int64_t i = 0; i < crowd.count; i++) {
        if (const int64_t next = i + 2 * CELLS_AHEAD; next < crowd.count && crowd.eats(next))
            store.ask(lane, crowd.copy[next], crowd.y[next], crowd.x[next]);
        eaten[i] = crowd.eats(i) ? static_cast<float>(energy * writer.take(lane, crowd.copy[i], crowd.y[i], crowd.x[i], bite))
                                 : 0.0f;
    }
}

// 1 into a lane (how: as in scatter), within what it holds, under those who are `chosen`.
template <class Codec>
void leave(Store& store, int lane, const Crowd& crowd, const bool* chosen, int how) {
    Writer<Codec> writer(store);
    const double low = store.lanes[lane].low, high = store.lanes[lane].high;
    for (int64_t i = 0; i < crowd.count; i++) {
        if (const int64_t next = i + CELLS_AHEAD; next < crowd.count && chosen[next])
            store.ask(crowd.copy[next], crowd.y[next], crowd.x[next]);
        if (chosen[i]) writer.combine(lane, crowd.copy[i], crowd.y[i], crowd.x[i], 1.0, how, low, high);
    }
}

// Which of the actions would do something, `CHOICES` flags an agent: staying, a step to a cell that is open, and eating
// where there is anything in the lane of the food.
template <class Ground, class Food>
void look(const Store& ground, int blocked, double below, const Store& food, int lane, int64_t count, const int32_t* copy,
          const int32_t* y, const int32_t* x, const bool* alive, bool* out) {
    Neighbours<Ground> neighbours(ground, blocked, count, copy, y, x, alive, below, out + 1, CHOICES);
    Reader<Food> reader(food);
    for (int64_t i = 0; i < count; i++) {
        if (const int64_t next = i + 2 * CELLS_AHEAD; next < count) {
            neighbours.ask(next);
            food.ask(copy[next], y[next], x[next]);
        }
        out[i * CHOICES] = true;
        neighbours.look(i);
        out[i * CHOICES + EAT] = Food::hand_out(reader.value(lane, copy[i], y[i], x[i])) > 0 && alive[i];
    }
}

}  // namespace memfarm
