"""The seeded simulation: the real worker in virtual time, among every fault, under the eyes of checkers."""
