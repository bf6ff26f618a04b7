rule train:
    input:
        model=paths.MODEL,
        pairs=paths.PAIRS,
    output:
        pos=expand(paths.CHECKPOINT, pole="pos", allow_missing=True),
        pos_config=expand(paths.CHECKPOINT_CONFIG, pole="pos", allow_missing=True),
        pos_log=expand(paths.TRAIN_LOG, pole="pos", allow_missing=True),
        neg=expand(paths.CHECKPOINT, pole="neg", allow_missing=True),
        neg_config=expand(paths.CHECKPOINT_CONFIG, pole="neg", allow_missing=True),
        neg_log=expand(paths.TRAIN_LOG, pole="neg", allow_missing=True),
    log:
        tasks.LOG["train"],
    benchmark:
        tasks.BENCHMARK["train"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=1,
    params:
        spec=PLAN.spec("train"),
        code=PLAN.code("train"),
    shell:
        "python -m dwatlas.jobs train --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} pairs={input.pairs}"
        " --outputs pos={output.pos} pos_log={output.pos_log}"
        " neg={output.neg} neg_log={output.neg_log} 2>&1 | tee -i {log}"


rule delta:
    input:
        model=paths.MODEL,
        pos=rules.train.output.pos,
        pos_config=rules.train.output.pos_config,
        neg=rules.train.output.neg,
        neg_config=rules.train.output.neg_config,
    output:
        delta=paths.DELTA,
        geometry=paths.GEOMETRY,
    log:
        tasks.LOG["delta"],
    benchmark:
        tasks.BENCHMARK["delta"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=PLAN.spec("delta"),
        code=PLAN.code("delta"),
    shell:
        "python -m dwatlas.jobs delta --spec {params.spec:q} --code {params.code} --log {log}"
        " --inputs model={input.model} pos={input.pos} neg={input.neg}"
        " --outputs delta={output.delta} geometry={output.geometry} 2>&1 | tee -i {log}"
