"""Whole workers in virtual time, from one seed: `make sim SEED=7`, `make sim RUNS=10000`.

`world` sets the stage, `scheduler` moves the time. `people` use the watched tables, `table` and `service` make streams
of what they do, `night` lets them forget. `slot`, `process`, `worker` and `threads` run the real worker on bad lines,
and `chance` says what goes wrong. `checks` looks at every write the moment it takes effect: at the logs (`logs`), at
declared losses (`gaps`), at lapses (`truth`) and at what each change must give (`oracle`); `rest` looks once faults
have stopped. `mutants` are planted bugs that must be found.
"""
