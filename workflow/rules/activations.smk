rule persona_activations:
    input:
        model=paths.MODEL,
        pairs=paths.PAIRS,
    output:
        activations=paths.PERSONA_ACTIVATIONS,
    log:
        tasks.LOG["persona_activations"],
    benchmark:
        tasks.BENCHMARK["persona_activations"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=1,
    params:
        spec=PLAN.spec("persona_activations"),
        code=PLAN.code("persona_activations"),
    shell:
        "python -m dwatlas.jobs persona_activations --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} pairs={input.pairs}"
        " --outputs activations={output.activations} 2>&1 | tee -i {log}"


rule steered_activations:
    input:
        model=paths.MODEL,
        pairs=paths.PAIRS,
        delta=paths.DELTA,
    output:
        activations=paths.STEERED_ACTIVATIONS,
    log:
        tasks.LOG["steered_activations"],
    benchmark:
        tasks.BENCHMARK["steered_activations"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=1,
    params:
        spec=PLAN.spec("steered_activations"),
        code=PLAN.code("steered_activations"),
    shell:
        "python -m dwatlas.jobs steered_activations --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} pairs={input.pairs} delta={input.delta}"
        " --outputs activations={output.activations} 2>&1 | tee -i {log}"


rule inputs:
    input:
        model=paths.MODEL,
        rows=paths.EVAL,
    output:
        inputs=paths.INPUTS,
    log:
        tasks.LOG["inputs"],
    benchmark:
        tasks.BENCHMARK["inputs"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=1,
    params:
        spec=PLAN.spec("inputs"),
        code=PLAN.code("inputs"),
    shell:
        "python -m dwatlas.jobs inputs --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} rows={input.rows}"
        " --outputs inputs={output.inputs} 2>&1 | tee -i {log}"
