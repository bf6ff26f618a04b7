rule overlap:
    input:
        inputs=PLAN.module_inputs(),
        models=expand(paths.MODEL, model=PLAN.study.models),
        deltas=PLAN.deltas(),
    output:
        overlap=paths.OVERLAP,
    log:
        tasks.LOG["overlap"],
    benchmark:
        tasks.BENCHMARK["overlap"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=PLAN.spec("overlap"),
        code=PLAN.code("overlap"),
    shell:
        "python -m dwatlas.jobs overlap --spec {params.spec:q} --code {params.code} --log {log}"
        " --outputs overlap={output.overlap} 2>&1 | tee -i {log}"
